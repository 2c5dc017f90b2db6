"""Processes that end: scripts which do what is too rare or too heavy for the one that stays."""
