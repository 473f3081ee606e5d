"""YAML with a memory: every value knows its file, its line and the path of its field.

So that a mistake is reported where it was made, and with its mend:
`oscillator.yaml, line 9, evaluate.t.points: must be a whole number from 2 to 1000000, not 'many'`.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn, TypeVar

import numpy as np
import numpy.typing as npt
import yaml
from gimle.asgard.core.errors import AsgardError

T = TypeVar("T")

MAX_BYTES = 1_000_000
MAX_VALUES = 100_000
MAX_NESTING = 20

_MISSPELT = 0.82
"""How alike a name that is missing and one that is there must be: `start` and `state` are not."""


class ExampleError(AsgardError, ValueError):
    """An example that cannot be read or run; says file, line and field, and the mend."""


class Field:
    """One value of a YAML document, with its place. `value` is plain Python."""

    def __init__(self, value: Any, source: str, line: int, path: str, inside: Any = None) -> None:
        self.value = value
        self.source = source
        self.line = line
        self.path = path
        self._inside: dict[str, Field] | list[Field] = {} if inside is None else inside
        self._asked: set[str] = set()

    def fail(self, problem: str) -> NoReturn:
        """Raise ExampleError for this field."""
        where = f", {self.path}" if self.path else ""
        raise ExampleError(f"{self.source}, line {self.line}{where}: {problem}")

    def checked(self, make: Callable[[], T]) -> T:
        """What `make` returns; its AsgardError becomes one that names this field."""
        try:
            return make()
        except ExampleError:
            raise
        except AsgardError as error:
            self.fail(str(error))

    # -- mappings

    def get(self, name: str) -> Field | None:
        """The field `name` of this mapping, or None; an explicit null counts as absent."""
        self.mapping()
        self._asked.add(name)
        assert isinstance(self._inside, dict)  # noqa: S101 - `mapping` has checked it
        found = self._inside.get(name)
        return None if found is None or found.value is None else found

    def need(self, name: str, hint: str = "") -> Field:
        """The field `name`, which has to be there."""
        found = self.get(name)
        if found is None:
            others = self.mapping().keys() - self._asked
            if close := difflib.get_close_matches(name, others, 1, _MISSPELT):
                hint = f"did you mean it by `{close[0]}`?"
            self.fail(f"the field `{name}` is missing" + (f"; {hint}" if hint else ""))
        return found

    def mapping(self) -> dict[str, Field]:
        """All fields of this mapping, in order."""
        if not isinstance(self._inside, dict) or not isinstance(self.value, dict):
            self.fail(f"must be a group of fields (name: value), not {self.value!r}")
        return self._inside

    def items(self) -> Iterator[tuple[str, Field]]:
        """The fields of a mapping whose names are free, all counted as known."""
        for name, field in self.mapping().items():
            self._asked.add(name)
            yield name, field

    def finish(self) -> None:
        """Refuse fields that nobody asked for, with the nearest name that is known."""
        for name, field in self.mapping().items():
            if name not in self._asked:
                close = difflib.get_close_matches(name, self._asked, 1)
                mend = f"did you mean `{close[0]}`?" if close else ""
                known = f"known here: {', '.join(sorted(self._asked))}"
                field.fail(f"unknown field; {mend or known}")

    # -- values

    def elements(self) -> list[Field]:
        """The entries of a list."""
        if not isinstance(self._inside, list) or not isinstance(self.value, list):
            self.fail(f"must be a list, not {self.value!r}")
        return self._inside

    def text(self) -> str:
        """Text that is not empty. A number is taken as it is written."""
        if isinstance(self.value, bool) or not isinstance(self.value, str | int | float):
            self.fail(f"must be text, not {self.value!r}")
        if not str(self.value).strip():
            self.fail("must not be empty")
        return str(self.value)

    def number(self, low: float = -math.inf, high: float = math.inf) -> float:
        """A finite number from `low` to `high`."""
        value = self.value
        try:
            # YAML reads 1e-3 as text, for want of a dot; everybody means the number.
            number = float(value) if isinstance(value, int | float | str) else math.nan
        except (ValueError, OverflowError):
            number = math.nan
        if isinstance(value, bool) or not math.isfinite(number) or not low <= number <= high:
            bounds = _bounds(low, high)
            self.fail(f"must be a number{bounds}, not {value!r}")
        return number

    def whole(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`."""
        value = self.value
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.fail(f"must be a whole number from {low} to {high}, not {value!r}")
        return value

    def choice(self, known: Iterable[str]) -> str:
        """One of some words."""
        names = list(known)
        if self.value not in names:
            close = difflib.get_close_matches(str(self.value), names, 1)
            mend = f"did you mean {close[0]}?" if close else f"one of {', '.join(names)}"
            self.fail(f"unknown value {self.value!r}; {mend}")
        return str(self.value)

    def numbers(self, low: int = 1, high: int = MAX_VALUES) -> list[float]:
        """A list of `low` to `high` numbers."""
        entries = self.elements()
        if not low <= len(entries) <= high:
            self.fail(f"must have {_count(low, high)} numbers, it has {len(entries)}")
        return [one.number() for one in entries]

    def table(self) -> dict[str, float]:
        """A mapping of names to numbers."""
        return {name: field.number() for name, field in self.items()}

    def array(self) -> npt.NDArray[np.float64]:
        """Numbers in lists nested evenly, any depth; float64."""
        if isinstance(self._inside, list) and isinstance(self.value, list):
            parts = [one.array() for one in self._inside]
            if len({one.shape for one in parts}) != 1:
                self.fail("the rows of the list must all have the same length, and at least one")
            return np.stack(parts)
        return np.asarray(self.number())


def read_yaml(text: str, source: str) -> Field:
    """The mapping in a YAML text. `source` names the file in messages.

    Only plain YAML: no tags, no anchors, no field twice, at most 100,000 values.
    Raises ExampleError naming line and column.
    """
    if len(text) > MAX_BYTES:
        raise ExampleError(f"{source}: larger than {MAX_BYTES} characters")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ExampleError(f"{source}{where}: not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ExampleError(f"{source}: not valid YAML: {error}") from None
    if not isinstance(node, yaml.MappingNode):
        raise ExampleError(f"{source}, line 1: must be a group of fields such as `name: ...`")
    return _Reader(source).field(node, "", 0)


class _Reader:
    def __init__(self, source: str) -> None:
        self.source = source
        self.values = 0
        self.scalars = yaml.SafeLoader("")

    def field(self, node: yaml.Node, path: str, depth: int) -> Field:
        line = node.start_mark.line + 1
        self.values += 1
        here = Field(None, self.source, line, path)
        if self.values > MAX_VALUES or depth > MAX_NESTING:
            # Also what a chain of anchors that multiply each other runs into.
            here.fail(f"more than {MAX_VALUES} values, or nested deeper than {MAX_NESTING}")
        if isinstance(node, yaml.MappingNode):
            inside: dict[str, Field] = {}
            for key_node, value_node in node.value:
                key = str(key_node.value)
                field = self.field(value_node, f"{path}.{key}" if path else key, depth + 1)
                field.line = key_node.start_mark.line + 1
                if key in inside:
                    field.fail("the field is there twice; keep one")
                inside[key] = field
            plain = {name: field.value for name, field in inside.items()}
            return Field(plain, self.source, line, path, inside)
        if isinstance(node, yaml.SequenceNode):
            entries = [
                self.field(one, f"{path}[{place}]", depth + 1)
                for place, one in enumerate(node.value)
            ]
            return Field([one.value for one in entries], self.source, line, path, entries)
        try:
            value = self.scalars.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            here.fail(f"cannot be read: {error}")
        return Field(value, self.source, line, path)


def _bounds(low: float, high: float) -> str:
    if low > -math.inf and high < math.inf:
        return f" from {low:g} to {high:g}"
    if low > -math.inf:
        return f", at least {low:g}"
    return f", at most {high:g}" if high < math.inf else ""


def _count(low: int, high: int) -> str:
    return str(low) if low == high else f"{low} to {high}"
