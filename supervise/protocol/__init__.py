"""Interfaces between processes: the bytes of record, state, letters, notifications and options, and names in files."""
