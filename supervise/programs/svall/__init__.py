"""svall: the services of one file, all together."""
