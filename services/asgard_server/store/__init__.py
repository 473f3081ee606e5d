"""Adapters of the storage ports, named by technology."""
