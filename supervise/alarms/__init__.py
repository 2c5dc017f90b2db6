"""Alarms when a service fails: their text, and their delivery by a helper."""
