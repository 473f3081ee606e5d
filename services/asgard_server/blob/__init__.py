"""BlobService: who owns which bytes, how they are moved, and whether they are the right ones."""
