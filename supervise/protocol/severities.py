"""Severities of log lines: notices go to supervise.log, the others to supervise.log.wf."""

NOTICE, WARNING, FATAL = "NOTICE", "WARNING", "FATAL"
