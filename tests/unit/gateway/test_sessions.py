"""The cookie of who has signed in: what it holds, in how many parts, and for how long."""

from __future__ import annotations

from typing import Any

import pytest
from asgard_server.gateway.request import Request
from asgard_server.gateway.sign_in.cookies import MOST_CHARACTERS
from asgard_server.gateway.sign_in.seal import Seal
from asgard_server.gateway.sign_in.sessions import Session, Sessions

NOW = 1_800_000_000


async def nothing() -> Any:
    raise AssertionError("no body is read")


def request_of(cookies: dict[str, str], host: str = "localhost:8000") -> Request:
    said = "; ".join(f"{name}={value}" for name, value in cookies.items())
    headers = [(b"host", host.encode()), (b"cookie", said.encode())]
    return Request({"type": "http", "method": "GET", "headers": headers}, nothing, "id")


def jar_of(request: Request, jar: dict[str, str] | None = None) -> dict[str, str]:
    """The cookies of a browser that has got the answer."""
    kept = dict(jar or {})
    for line in request.cookies:
        name, _, rest = line.partition("=")
        value, _, attributes = rest.partition(";")
        assert len(line.encode()) <= 4_096
        if "Max-Age=0" in attributes:
            kept.pop(name, None)
        else:
            kept[name] = value
    return kept


def sessions(at: float = NOW, hours: int = 12) -> Sessions:
    return Sessions(("k" * 32,), None, hours=hours, clock=lambda: at)


def a_session(characters: int, refresh_token: str = "") -> Session:
    return Session("t" * characters, "oidc", NOW, "alice", "Alice", refresh_token, NOW + 60)


@pytest.mark.parametrize("characters", [100, 3_000, 5_000])
def test_a_session_comes_back_as_it_was_in_as_many_cookies_as_it_needs(characters: int) -> None:
    asked = request_of({})
    sessions().keep(asked, a_session(characters))
    jar = jar_of(asked)
    assert len(jar) == (1 if characters < 2_500 else 2)
    assert sessions().kept(request_of(jar)) == a_session(characters)
    # A shorter one afterwards leaves nothing of the longer one.
    again = request_of(jar)
    sessions().keep(again, a_session(100))
    assert len(jar_of(again, jar)) == 1
    assert sessions().kept(request_of(jar_of(again, jar))) == a_session(100)
    gone = request_of(jar)
    sessions().forget(gone)
    assert jar_of(gone, jar) == {}


def test_what_is_too_much_does_without_renewal_and_then_is_refused() -> None:
    asked = request_of({})
    sessions().keep(asked, a_session(4_000, "r" * 4_000))
    assert sessions().kept(request_of(jar_of(asked))) == a_session(4_000)
    with pytest.raises(ValueError, match="too many"):
        sessions().keep(request_of({}), a_session(MOST_CHARACTERS))


def test_a_part_alone_is_nothing() -> None:
    asked = request_of({})
    sessions().keep(asked, a_session(5_000))
    first, second = sorted(jar_of(asked).items())
    for jar in (dict([first]), dict([second]), {first[0]: second[1], second[0]: first[1]}):
        assert sessions().kept(request_of(jar)) is None


def test_a_session_ends_after_its_hours() -> None:
    asked = request_of({})
    sessions().keep(asked, a_session(100))
    jar = jar_of(asked)
    assert "Max-Age=43200;" in asked.cookies[0]
    assert sessions(NOW + 12 * 3_600 - 1).kept(request_of(jar)) is not None
    assert sessions(NOW + 12 * 3_600).kept(request_of(jar)) is None


@pytest.mark.parametrize(
    "text", ["", "a.b.c.d.e", "x" * 500, "....", "\u00e4", "eyJhbGciOiJub25lIn0...."]
)
def test_what_was_not_sealed_here_is_nothing(text: str) -> None:
    assert Seal(("k" * 32,), "a").opened(text) is None


def test_what_is_sealed_for_one_purpose_is_nothing_for_another() -> None:
    sealed = Seal(("k" * 32,), "a").sealed([1])
    assert Seal(("o" * 32, "k" * 32), "a").opened(sealed) == [1]
    assert Seal(("k" * 32,), "b").opened(sealed) is None
    assert Seal(("o" * 32,), "a").opened(sealed) is None
    # And each time it looks otherwise.
    assert Seal(("k" * 32,), "a").sealed([1]) != sealed
