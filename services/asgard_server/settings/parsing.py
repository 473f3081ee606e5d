"""How the text of a setting is read. Each takes the name to blame and the text."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from asgard_server.settings.errors import SettingError

Parse = Callable[[str, str], Any]

HIDDEN = "***"
_TRUE, _FALSE = frozenset({"true", "1", "yes", "on"}), frozenset({"false", "0", "no", "off"})
_SECRET_OPTIONS = re.compile(r"password|passwd|secret|token", re.IGNORECASE)


def text(name: str, given: str) -> str:
    """Take it as it is, if it says anything."""
    if not given.strip():
        raise SettingError(name, "is empty", "give a value, or leave it out")
    return given


def file(name: str, given: str) -> Path:
    """Read the path of a file that is there."""
    path = Path(given)
    if not path.is_file():
        raise SettingError(name, f"is {given!r}, and no such file is there", "check the path")
    return path


def whole(least: int, most: int | None = None) -> Parse:
    """Read a whole number from `least` on."""

    def parse(name: str, given: str) -> int:
        try:
            number = int(given)
        except ValueError:
            raise SettingError(name, f"is {given!r}", "give a whole number") from None
        if number < least or (most is not None and number > most):
            allowed = f"{least} to {most}" if most is not None else f"{least} or more"
            raise SettingError(name, f"is {number}", f"give {allowed}")
        return number

    return parse


def port(name: str, given: str) -> int:
    """Read a port, 0 for any that is free."""
    try:
        number = int(given)
    except ValueError:
        raise SettingError(name, f"is {given!r}", "give a whole number") from None
    if not 0 <= number <= 65_535:
        raise SettingError(name, f"is {number}", "give 1 to 65535, or 0 for a free port")
    return number


def seconds(name: str, given: str) -> float:
    """Read a number of seconds, 0 or more."""
    try:
        number = float(given)
    except ValueError:
        number = -1.0
    if not 0 <= number < 1e6:
        raise SettingError(name, f"is {given!r}", "give a number of seconds, 0 or more")
    return number


def yes_or_no(name: str, given: str) -> bool:
    """Read true or false."""
    word = given.lower()
    if word not in _TRUE | _FALSE:
        raise SettingError(name, f"is {given!r}", "give true or false")
    return word in _TRUE


def one_of(*words: str) -> Parse:
    """Read one of these words."""

    def parse(name: str, given: str) -> str:
        if given not in words:
            raise SettingError(name, f"is {given!r}", f"give one of {', '.join(words)}")
        return given

    return parse


def words(name: str, given: str) -> tuple[str, ...]:
    """Read words with commas between them."""
    return tuple(word.strip() for word in given.split(",") if word.strip())


def url(*schemes: str, example: str) -> Parse:
    """Read a URL of one of these schemes."""

    def parse(name: str, given: str) -> str:
        scheme, there, rest = given.partition("://")
        # A password may be in it, so it is not said again.
        if scheme not in schemes or not there or not rest:
            raise SettingError(name, "is not an address of its kind", f"give one like {example}")
        # Not urlsplit: of several hosts it takes no IPv6 address but the first, in newer Pythons.
        netloc = re.split(r"[/?#]", rest, maxsplit=1)[0]
        try:
            for host in netloc.rpartition("@")[2].split(","):
                _ = urlsplit(f"//{host}").port
        except ValueError as error:
            problem = f"names a host or port that cannot be ({error})"
            raise SettingError(name, problem, f"give one like {example}") from None
        return given

    return parse


def without_passwords(address: str) -> str:
    """Hide passwords in a URL, where it names the user and where it has options."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return HIDDEN
    user, at, hosts = parts.netloc.rpartition("@")
    name, colon, _ = user.partition(":")
    query = urlencode(
        [
            (key, HIDDEN if _SECRET_OPTIONS.search(key) else value)
            for key, value in parse_qsl(parts.query, keep_blank_values=True)
        ],
        safe="*/:",
    )
    shown = f"{name}{colon}{HIDDEN if colon else ''}{at}{hosts}"
    return urlunsplit((parts.scheme, shown, parts.path, query, parts.fragment))
