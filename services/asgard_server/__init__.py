"""The Asgard services: run, gateway, and both in one process."""
