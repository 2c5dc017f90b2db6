"""What is said when a service fails, and how it gets there."""
