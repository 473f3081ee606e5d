"""Browsers sign in: who they are lies in a sealed cookie of theirs, and in no gateway."""
