"""The state machine of a service, pure: events in, actions out; no clock and no I/O."""
