"""Wrappers of Linux: processes, pidfds, /proc, descriptors, and trusted files.  They know no configuration."""
