"""What must be done in other services: left in the transaction that is its cause, then delivered."""
