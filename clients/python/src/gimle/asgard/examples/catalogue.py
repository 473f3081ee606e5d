"""Where examples are: the user's own files first, then the ones that come with the package."""

from __future__ import annotations

import difflib
from pathlib import Path

from gimle.asgard.examples.fields import ExampleError

CATEGORIES = ("basic", "advanced", "discrete", "stochastic", "optimization", "engineering")
"""The categories, in the order they are listed and run."""

ROOT = Path(__file__).parent
"""The folder with one folder of YAML files for each category."""


def catalogue(category: str | None = None) -> list[Path]:
    """The packaged examples, in the order they are listed; of one category when it is given.

    Raises ExampleError for an unknown category.
    """
    if category is not None and category not in CATEGORIES:
        close = difflib.get_close_matches(category, CATEGORIES, 1)
        mend = f"did you mean {close[0]}?" if close else f"one of {', '.join(CATEGORIES)}"
        raise ExampleError(f"unknown category {category!r}; {mend}")
    chosen = CATEGORIES if category is None else (category,)
    return [path for one in chosen for path in sorted((ROOT / one).glob("*.yaml"))]


def find(path: str) -> Path:
    """The example that `path` names: a file of the user's, else `category/name.yaml`.

    `.yaml` may be left out of a packaged name. Raises ExampleError with the nearest names.
    """
    own = Path(path)
    if own.is_file():
        return own
    packaged = {name_of(one): one for one in catalogue()}
    wanted = path if path.endswith((".yaml", ".yml")) else f"{path}.yaml"
    wanted = wanted.removeprefix("./").removeprefix("examples/")
    if wanted in packaged:
        return packaged[wanted]
    if own.is_dir():
        raise ExampleError(f"{path} is a folder; name one YAML file, or a category with -c")
    close = difflib.get_close_matches(wanted, packaged, 3, 0.65)
    mend = f"did you mean {' or '.join(close)}?" if close else "see `asgard example --list`"
    raise ExampleError(f"there is no file {path} and no packaged example of that name; {mend}")


def name_of(path: Path) -> str:
    """`category/name.yaml` for a packaged example, the path as it is for a user's own."""
    try:
        return path.relative_to(ROOT).as_posix()
    except ValueError:
        return str(path)
