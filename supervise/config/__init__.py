"""supervise.conf: from its text to what governs one service."""
