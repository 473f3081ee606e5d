"""Watching the change log of a service: what all services have in common."""
