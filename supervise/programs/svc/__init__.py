"""svc: command services."""
