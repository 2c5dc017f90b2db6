"""How bad it is: the severities of lines in supervise.log (notices) and supervise.log.wf (the others)."""

NOTICE, WARNING, FATAL = "NOTICE", "WARNING", "FATAL"
