"""Model weights in an object store, in the layout that huggingface_hub and vLLM read."""

from __future__ import annotations

from gimle.asgard.models.layout import Model, Snapshot
from gimle.asgard.models.pulling import Pulled, pull, stored_models
from gimle.asgard.models.pushing import Pushed, push
from gimle.asgard.models.verifying import Checked, verify

__all__ = [
    "Checked",
    "Model",
    "Pulled",
    "Pushed",
    "Snapshot",
    "pull",
    "push",
    "stored_models",
    "verify",
]
