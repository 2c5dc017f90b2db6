"""The runtime of the loop: reactor, event log, status writer, and files that are followed."""
