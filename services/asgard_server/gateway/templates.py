"""Path templates of `google.api.http`: compiled once, matched on raw path segments.

    /v1/runs            /v1/runs:save           /v1/runs/{run_id}:finish
    /v1/{name=a/*/b/*}  /v1/files/{path=**}

A path is matched before percent-decoding, so that `%2F` inside an id stays inside it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

_TOKEN = re.compile(r"\{([A-Za-z_][\w.]*)(?:=([^{}]+))?\}|([^{}/:]+)|(/)|:([A-Za-z_]\w*)$")


class UndecodablePath(ValueError):
    """A percent-encoded part of the path is not UTF-8, or holds a control character."""


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled template.

    `rank` orders templates that match the same path: the first in order is the most
    specific one. `shape` is the template with its variables unnamed: equal shapes
    are the same resource.
    """

    text: str
    shape: str
    pattern: re.Pattern[str]
    variables: tuple[str, ...]
    rank: tuple[int, ...]
    multiple: frozenset[str]

    def match(self, raw_path: str) -> dict[str, str] | None:
        """Variables of a path by field path, or None. Raises `UndecodablePath`."""
        found = self.pattern.fullmatch(raw_path)
        if found is None:
            return None
        return {
            name: decoded(value, keep_slash=name in self.multiple)
            for name, value in zip(self.variables, found.groups(), strict=True)
        }


def compile_template(text: str) -> Template:
    """Compile a template. Raises `ValueError` where it breaks the grammar."""
    if not text.startswith("/"):
        raise ValueError(f"path template {text!r} does not begin with a slash")
    pattern, shape, variables, rank, multiple = "", "", [], [], set()
    position, verb = 0, False
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None:
            raise ValueError(f"path template {text!r} cannot be read at {text[position:]!r}")
        variable, inner, literal, slash, custom = token.groups()
        if variable:
            inner = inner or "*"
            variables.append(variable)
            if "/" in inner or "**" in inner:
                multiple.add(variable)
            pattern += f"({_wildcards(inner)})"
            shape += f"{{{inner}}}"
            rank.append(2 if "**" in inner else 1)
        elif literal:
            pattern += _wildcards(literal)
            shape += literal
            rank.append(1 if "*" in literal else 0)
        elif slash:
            pattern += "/"
            shape += "/"
        else:
            verb = True
            pattern += f":{re.escape(custom)}"
            shape += f":{custom}"
        position = token.end()
    # A variable never swallows a verb that another template claims: verbs rank first.
    return Template(
        text,
        shape,
        re.compile(pattern),
        tuple(variables),
        (0 if verb else 1, *rank),
        frozenset(multiple),
    )


def _wildcards(inner: str) -> str:
    parts = []
    for part in inner.split("/"):
        if part == "**":
            parts.append(".*")
        elif part == "*":
            parts.append("[^/]+")
        else:
            parts.append(re.escape(part))
    return "/".join(parts)


def decoded(value: str, *, keep_slash: bool = False) -> str:
    """Percent-decode one captured part. `%2F` stays encoded where slashes separate."""
    if keep_slash:
        value = re.sub("%2[fF]", "%252F", value)
    try:
        text = unquote_to_bytes(value).decode()
    except UnicodeDecodeError as error:
        raise UndecodablePath("the path is not UTF-8 when percent-decoded") from error
    if "\0" in text:
        raise UndecodablePath("the path contains a NUL character")
    return text
