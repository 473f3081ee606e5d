"""Cut a JSON object into its members without parsing them.

A result may hold a hundred megabytes of JSON somebody's script wrote as lists.
Parsing that holds the interpreter for as long as it takes, in whatever thread; here
it is looked at in slices, and between two of them others run.
"""

from __future__ import annotations

import re

import orjson

_SLICE = 262_144
_MARK = re.compile(rb'["{}\[\]]')
_QUOTE = re.compile(rb'["\\]')
_SPACE = b" \t\r\n"


def members(body: bytes) -> dict[str, bytes]:
    """The members of a JSON object by key, each as its own text.

    Trusts that `body` is JSON (documents are checked when they are written) and
    raises `ValueError` where its brackets say otherwise.
    """
    found: dict[str, bytes] = {}
    place = _skip(body, 0)
    if body[place : place + 1] != b"{":
        raise ValueError("no JSON object")
    place = _skip(body, place + 1)
    while body[place : place + 1] == b'"':
        end = _string_end(body, place)
        key = orjson.loads(body[place:end])
        place = _skip(body, end)
        if body[place : place + 1] != b":":
            raise ValueError(f"no value for {key!r}")
        place = _skip(body, place + 1)
        end = _value_end(body, place)
        found[key] = body[place:end].rstrip(_SPACE)
        place = _skip(body, end)
        if body[place : place + 1] == b",":
            place = _skip(body, place + 1)
    if body[place : place + 1] != b"}":
        raise ValueError("the object does not end")
    return found


def _skip(body: bytes, place: int) -> int:
    while body[place : place + 1] and body[place] in _SPACE:
        place += 1
    return place


def _search(pattern: re.Pattern[bytes], body: bytes, place: int) -> int:
    while place < len(body):
        match = pattern.search(body, place, place + _SLICE)
        if match:
            return match.start()
        place += _SLICE
    raise ValueError("the text ends within a value")


def _string_end(body: bytes, place: int) -> int:
    """The place behind the string that begins at `place`."""
    place += 1
    while True:
        place = _search(_QUOTE, body, place)
        if body[place] == 0x22:
            return place + 1
        place += 2


def _value_end(body: bytes, place: int) -> int:
    """The place behind the value that begins at `place`."""
    first = body[place : place + 1]
    if first == b'"':
        return _string_end(body, place)
    if first not in (b"{", b"["):
        comma = body.find(b",", place)
        brace = body.find(b"}", place)
        if brace < 0:
            raise ValueError("the object does not end")
        return brace if comma < 0 else min(comma, brace)
    depth = 0
    while True:
        place = _search(_MARK, body, place)
        mark = body[place]
        if mark == 0x22:
            place = _string_end(body, place)
            continue
        depth += 1 if mark in b"{[" else -1
        place += 1
        if depth == 0:
            return place
