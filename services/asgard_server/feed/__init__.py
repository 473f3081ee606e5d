"""The bell that wakes watchers: its port and its adapters."""
