"""supervise.conf: from its text to the configuration of one service."""
