"""What a program's exit code says, as daemontools' programs have it: 100 "you", 111 "the system", 99 a time limit."""

USAGE, SYSTEM, TIME_LIMIT = 100, 111, 99
