"""Linux, wrapped once: processes, descriptors, /proc, and files that can be believed.  Knows no configuration."""
