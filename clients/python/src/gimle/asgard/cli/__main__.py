"""`python -m gimle.asgard.cli`."""

from __future__ import annotations

from gimle.asgard.cli import main

if __name__ == "__main__":
    main()
