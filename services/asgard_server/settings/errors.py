"""What is raised for a setting that cannot be used."""

from __future__ import annotations


class SettingError(ValueError):
    """A setting that cannot be used. Says which, and its mend."""

    def __init__(self, name: str, problem: str, mend: str) -> None:
        super().__init__(f"{name} {problem}; {mend}")
        self.name = name
        self.mend = mend
