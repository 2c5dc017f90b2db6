"""Many services: in what order they start and stop, and carrying a command out over all of them."""
