"""`make bench`: measure every number that Asgard promises, beside its comparator.

Run as `python tests/benchmarks [--only NAME ...] [--quick]`; exits 1 when one is missed.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

if __name__ == "__main__":
    # The folder is run, not imported: the modules in it have their full names all the same.
    sys.path[0] = str(Path(__file__).resolve().parents[2])
    importlib.import_module("tests.benchmarks.command").main()
