"""What must be done in other services: left with its cause, then delivered."""
