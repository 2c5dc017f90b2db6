"""The parts of one service: its processes, readiness, health checks, successors and leftovers."""
