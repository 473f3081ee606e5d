"""Cookies of the gateway: HttpOnly, SameSite=Lax, and by HTTPS alone except on this machine.

Beyond this machine a name begins with `__Host-`: browsers take it from this very host only, and
from no neighbour below the same domain.
"""

from __future__ import annotations

from collections.abc import Iterator

from asgard_server.gateway.guard import is_loopback
from asgard_server.gateway.request import Request

SESSION = "asgard-session"
SIGN_IN = "asgard-sign-in"

# A browser keeps 4,096 bytes of one cookie, with its name and what is said of it.
_PART_CHARACTERS = 3_800
# Proxies take 8 KB of one header line.
MOST_CHARACTERS = 2 * _PART_CHARACTERS
_MOST_PARTS = MOST_CHARACTERS // _PART_CHARACTERS


def read(request: Request, name: str) -> str:
    """What a cookie holds, put together of its parts; empty where there is none."""
    given = dict(_given(request))
    parts: list[str] = []
    for number in range(_MOST_PARTS):
        part = given.get(_called(request, name, number))
        if part is None:
            break
        parts.append(part)
    return "".join(parts)


def put(request: Request, name: str, value: str, seconds: int) -> None:
    """Have the answer set a cookie, in as many parts as it needs.

    Raises `ValueError` above `MOST_CHARACTERS`.
    """
    if len(value) > MOST_CHARACTERS:
        raise ValueError(f"{len(value)} characters are too many for cookies")
    there = dict(_given(request))
    for number in range(_MOST_PARTS):
        called = _called(request, name, number)
        part = value[number * _PART_CHARACTERS : (number + 1) * _PART_CHARACTERS]
        if part:
            request.cookies.append(_set(request, called, part, seconds))
        elif called in there:
            request.cookies.append(_set(request, called, "", 0))


def drop(request: Request, name: str) -> None:
    """Have the answer remove a cookie."""
    put(request, name, "", 0)


def is_secure(request: Request) -> bool:
    """Whether cookies go by HTTPS alone: everywhere but on this machine."""
    return not is_loopback(request.header(b"host"))


def _called(request: Request, name: str, number: int) -> str:
    prefix = "__Host-" if is_secure(request) else ""
    return f"{prefix}{name}{f'-{number}' if number else ''}"


def _set(request: Request, called: str, value: str, seconds: int) -> str:
    secure = "; Secure" if is_secure(request) else ""
    return f"{called}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}"


def _given(request: Request) -> Iterator[tuple[str, str]]:
    for key, value in request.scope["headers"]:
        if key == b"cookie":
            for pair in value.decode("latin-1").split(";"):
                name, _, text = pair.strip().partition("=")
                yield name, text
