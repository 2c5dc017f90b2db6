"""Exit codes of the programs, as daemontools has them: 100 the user's fault, 111 the system's, 99 a time limit."""

USAGE, SYSTEM, TIME_LIMIT = 100, 111, 99
