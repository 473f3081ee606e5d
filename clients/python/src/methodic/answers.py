"""What the server answers: JSON objects whose members can be had both ways."""

from __future__ import annotations

from typing import Any


class Answer(dict[str, Any]):
    """A JSON object: `answer["id"]` and `answer.id` are the same.

    A member called like a method of dict ("items", "keys") is had by its key alone.
    """

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            known = ", ".join(sorted(self)) or "none"
            raise AttributeError(f"the answer has no {name!r}; it has {known}") from None

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self})


Answers = list[Answer]


def readable(value: Any) -> Any:
    """The JSON value with every object in it an Answer."""
    if isinstance(value, dict):
        return Answer({key: readable(each) for key, each in value.items()})
    if isinstance(value, list):
        return [readable(each) for each in value]
    return value
