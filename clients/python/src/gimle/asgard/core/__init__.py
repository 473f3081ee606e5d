"""The storage format and what writes it: documents, exact values, folders."""

from __future__ import annotations
