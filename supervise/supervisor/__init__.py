"""The process that stays: its start, its loop, taking over, upgrading, and its end."""
