"""File names in a status directory."""

from __future__ import annotations

LOCK, CONTROL, OK = "lock", "control", "ok"
STATUS, STATE = "status", "state"
NOTIFY = "notify"
STDOUT, STDERR = "__stdout", "__stderr"
PIPES = "__stdout.pipe", "__stderr.pipe"  # to the loggers
LOG, LOG_WF = "supervise.log", "supervise.log.wf"
