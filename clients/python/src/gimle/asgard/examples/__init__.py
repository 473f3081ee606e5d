"""The examples: YAML documents that say what to compute and how to show it.

`find` and `catalogue` know where they are, `load` reads one and checks every field, `run_example`
computes it into a storage.
"""

from __future__ import annotations

from gimle.asgard.examples.catalogue import CATEGORIES, catalogue, find
from gimle.asgard.examples.document import Example, ExampleError, load
from gimle.asgard.examples.running import run_example

__all__ = ["CATEGORIES", "Example", "ExampleError", "catalogue", "find", "load", "run_example"]
