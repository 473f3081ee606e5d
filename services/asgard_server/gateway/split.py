"""Reading a JSON body without parsing the parts that are only passed on.

A field with the `json` option is cut out as text: numbers keep their digits, and a
value of many megabytes is never turned into objects. Everything else is parsed by
orjson. The cut-out text is checked where it is stored; here it only has to end.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple, Protocol

import orjson

from asgard_server.gateway import brackets

_SPACE = re.compile(rb"[ \t\r\n]*")
_STRUCTURE = re.compile(rb'["{}\[\]]')
_SCALAR = re.compile(rb'[^\s,:"{}\[\]]+')
# So far a value is searched token by token, which is quicker where it is short.
_NEAR = 1 << 14
MAX_DEPTH = 100


class Raw(NamedTuple):
    """One JSON value as text."""

    text: bytes


class Shape(Protocol):
    """What the splitter needs to know of an object: which keys hold what."""

    def inner(self, key: str) -> Shape | None:
        """Shape of a key's object (or of each in its list), None when it is parsed plainly."""

    def raw(self, key: str) -> bool:
        """Say whether a key's value is cut out as text."""


class Malformed(ValueError):
    """The body is not JSON; the message says where."""


def split(body: bytes, shape: Shape) -> Any:
    """Parse a body; values of raw keys become `Raw`. Raises `Malformed`."""
    reader = _Reader(body)
    value, end = reader.value(_skip(body, 0), shape, 0)
    end = _skip(body, end)
    if end != len(body):
        raise Malformed(f"there is something behind the JSON value, at byte {end}")
    return value


def _skip(body: bytes, at: int) -> int:
    found = _SPACE.match(body, at)
    return found.end() if found else at


class _Reader:
    def __init__(self, body: bytes) -> None:
        self.body = body

    def value(self, at: int, shape: Shape, depth: int) -> tuple[Any, int]:
        if depth > MAX_DEPTH:
            raise Malformed(f"the JSON is nested more than {MAX_DEPTH} deep")
        first = self.body[at : at + 1]
        if first == b"{":
            return self._object(at, shape, depth)
        if first == b"[":
            return self._list(at, shape, depth)
        end = self._end(at)
        return self._plain(at, end), end

    def _object(self, at: int, shape: Shape, depth: int) -> tuple[dict[str, Any], int]:
        found: dict[str, Any] = {}
        at = _skip(self.body, at + 1)
        if self.body[at : at + 1] == b"}":
            return found, at + 1
        while True:
            if self.body[at : at + 1] != b'"':
                raise Malformed(f"a key in double quotes is missing at byte {at}")
            end = self._end(at)
            key = self._plain(at, end)
            if key in found:
                raise Malformed(f"the key {key!r} is there twice")
            at = _skip(self.body, end)
            if self.body[at : at + 1] != b":":
                raise Malformed(f"a colon is missing at byte {at}")
            at = _skip(self.body, at + 1)
            inner = shape.inner(key)
            if shape.raw(key):
                end = self._end(at)
                found[key] = None if self.body[at:end] == b"null" else Raw(self.body[at:end])
            elif inner is not None:
                found[key], end = self.value(at, inner, depth + 1)
            else:
                end = self._end(at)
                found[key] = self._plain(at, end)
            at, more = self._next(end, b"}")
            if not more:
                return found, at

    def _list(self, at: int, shape: Shape, depth: int) -> tuple[list[Any], int]:
        found: list[Any] = []
        at = _skip(self.body, at + 1)
        if self.body[at : at + 1] == b"]":
            return found, at + 1
        while True:
            value, end = self.value(at, shape, depth + 1)
            found.append(value)
            at, more = self._next(end, b"]")
            if not more:
                return found, at

    def _next(self, at: int, closing: bytes) -> tuple[int, bool]:
        at = _skip(self.body, at)
        mark = self.body[at : at + 1]
        if mark == b",":
            return _skip(self.body, at + 1), True
        if mark == closing:
            return at + 1, False
        raise Malformed(f"a comma or {closing.decode()} is missing at byte {at}")

    def _plain(self, at: int, end: int) -> Any:
        try:
            return orjson.loads(memoryview(self.body)[at:end])
        except orjson.JSONDecodeError as error:
            raise Malformed(f"not JSON at byte {at + error.pos}: {error.msg}") from error

    def _end(self, at: int) -> int:
        """Where the value that begins at `at` ends."""
        first = self.body[at : at + 1]
        if first == b'"':
            return self._string_end(at)
        if first not in (b"{", b"["):
            found = _SCALAR.match(self.body, at)
            if found is None:
                raise Malformed(f"a JSON value is missing at byte {at}")
            return found.end()
        depth, near = 1, at + _NEAR
        at += 1
        while at < near:
            mark = _STRUCTURE.search(self.body, at, near)
            if mark is None:
                at = near
            elif mark.group() == b'"':
                at = self._string_end(mark.start())
            else:
                at = mark.end()
                depth += 1 if mark.group() in b"{[" else -1
                if depth == 0:
                    return at
        at = brackets.closing(self.body, at, depth)
        if at < 0:
            raise Malformed("the JSON ends in the middle of a value")
        return at

    def _string_end(self, at: int) -> int:
        body, quote = self.body, at
        while True:
            quote = body.find(b'"', quote + 1)
            if quote < 0:
                raise Malformed(f"the string that begins at byte {at} does not end")
            before = quote - 1
            while body[before] == 0x5C:
                before -= 1
            if (quote - before) % 2:
                return quote + 1
