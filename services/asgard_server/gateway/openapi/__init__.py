"""The OpenAPI 3.1 document, generated from the descriptors and their comments."""

from __future__ import annotations
