"""What two processes agree on: bytes, names and words, of the record, the state, letters, notifications and options."""
