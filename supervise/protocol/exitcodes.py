"""Exit codes of the programs, as daemontools has them: 100 the user's fault, 111 the system's, 99 a time limit; and 1:
what was asked for was done and has failed, as with a service that does not stay up."""

FAILED, USAGE, SYSTEM, TIME_LIMIT = 1, 100, 111, 99
