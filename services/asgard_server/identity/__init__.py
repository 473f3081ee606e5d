"""IdentityService: who there is, who is a member of what, and the keys by which they are known."""
