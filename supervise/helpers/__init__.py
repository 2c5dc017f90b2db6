"""Helper scripts: processes that do what is too rare or too heavy for the one that stays."""
