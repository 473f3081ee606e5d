"""Model weights in an object store, in the layout that huggingface_hub reads."""

from __future__ import annotations
