"""Moving bytes straight to and from an object store: parallel, checked, resumable."""

from __future__ import annotations
