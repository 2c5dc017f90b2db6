"""The process that stays: start-up, loop, takeover, upgrade and shutdown."""
