"""svstat: say how services are."""
