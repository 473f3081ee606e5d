"""What is raised for a setting that cannot be used."""

from __future__ import annotations


class SettingError(ValueError):
    """A setting that cannot be used. Says which, and its mend."""

    def __init__(self, name: str, problem: str, mend: str) -> None:
        super().__init__(f"{name} {problem}; {mend}")
        self.name = name
        self.mend = mend


def require_both(first: str, is_first: bool, second: str, is_second: bool) -> None:
    """Raise `SettingError` where of two variables that go together only one is set."""
    if is_first != is_second:
        given, other = (first, second) if is_first else (second, first)
        raise SettingError(given, f"is set and {other} is not", "give both, or none")
