"""What is asked for when an asset is created, and the rules that it keeps. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import orjson
from gimle.asgard.core.asset_errors import ContentTooLargeError
from gimle.asgard.core.errors import InvalidFieldError
from gimle.asgard.core.ids import check_id, new_id

from asgard_server.asset import names
from asgard_server.asset.domain import (
    DEFAULT,
    INLINE_BYTES,
    JSON_BYTES,
    JSON_DEPTH,
    REASONS,
    Asset,
    Component,
    Kind,
    OutputOf,
)

JSON = "application/json"

_MEDIA_TYPE = re.compile(
    r"[A-Za-z0-9!#$&^_.+-]{1,127}/[A-Za-z0-9!#$&^_.+-]{1,127}"
    r"(; ?[A-Za-z0-9!#$&^_.+-]{1,127}=[A-Za-z0-9!#$&^_.+:/-]{1,127}){0,8}"
)
_WAYS: Mapping[str, Kind] = {
    "content": "inline",
    "components": "components",
    "component_files": "components",
    "uri": "reference",
}
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"')
_BRACKETS = re.compile(rb"[\[\]{}]")
_OBJECT_BYTES = 5 << 40
# An escaped letter is six of JSON for one of the text.
_ESCAPED = 6 * INLINE_BYTES + 2
_SEARCHED = 500_000


@dataclass(frozen=True, slots=True)
class NewComponent:
    """A component that is to be uploaded, with what is known of it."""

    name: str
    size_bytes: int | None = None
    sha256: str | None = None
    content_type: str = ""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a caller asks for."""

    id: str = ""
    asset_type: str = ""
    name: str = ""
    content: bytes = b""
    content_type: str = ""
    components: tuple[str, ...] = ()
    component_files: tuple[NewComponent, ...] = ()
    uri: str = ""
    size_bytes: int | None = None
    asset_config: bytes = b""
    metadata: bytes = b""
    output_of: OutputOf | None = None
    pending_reasons: tuple[str, ...] = ()
    organization_id: str = ""
    team_id: str = ""
    visibility: str = ""
    lease_token: str = ""
    digest: str = ""


class Reserved(NamedTuple):
    """The rule of a type: what it must be, beside what every asset is."""

    is_document: bool = False
    may_be_output: bool = True


RESERVED: Mapping[str, Reserved] = {
    # Said before anything runs: it is an input of its experiment.
    "hypothesis_report": Reserved(is_document=True, may_be_output=False),
    "takeaways_report": Reserved(is_document=True),
    "research_report": Reserved(is_document=True),
    "variation_report": Reserved(is_document=True),
    "retraction_report": Reserved(is_document=True, may_be_output=False),
}
"""Types with a rule of their own. Any other text is a type without one."""


@dataclass(frozen=True, slots=True)
class Asked:
    """An asset that may be made: its row without an owner, its content, what is declared."""

    asset: Asset
    content: bytes | None = None
    text: str = ""
    declared: tuple[NewComponent, ...] = ()
    organization: str = ""
    team: str = ""
    visibility: str = ""
    lease_token: str = field(default="", repr=False)


def asked(wish: Wish, by: str, now: datetime) -> Asked:
    """What is to be made of a wish of `by`. Raises `InvalidFieldError`, `ContentTooLargeError`."""
    kind = _kind(wish)
    row = Asset(
        id=check_id(wish.id, "id") if wish.id else new_id(now),
        asset_type=names.asset_type(wish.asset_type),
        state="pending",
        kind=kind,
        content_type=_content_type(wish, kind),
        created_at=now,
        updated_at=now,
        created_by=by,
        request_digest=wish.digest,
        name=names.asset_name(wish.name) if wish.name else None,
        config_json=json_object(wish.asset_config, "asset_config"),
        metadata_json=json_object(wish.metadata, "metadata"),
        pending_reasons=_reasons(wish.pending_reasons),
        output_of=_output_of(wish.output_of),
    )
    made = Asked(
        row,
        organization=wish.organization_id,
        team=wish.team_id,
        visibility=wish.visibility,
        lease_token=wish.lease_token,
    )
    if kind == "inline":
        made = _with_content(made, wish.content)
    elif kind == "components":
        made = _with_components(made, wish)
    else:
        made = _with_reference(made, wish)
    _require_rule(made)
    if kind != "components" and not row.pending_reasons:
        return replace(made, asset=replace(made.asset, state="ready", ready_at=now))
    return made


def required(text: str, field: str) -> str:
    """Answer a text that must not be empty. Raises `InvalidFieldError`."""
    if not text:
        raise InvalidFieldError(field, "is missing", "give it")
    return text


def json_object(text: bytes, field: str) -> str | None:
    """A JSON object of at most 64 KiB, as it was given; None when empty. Raises
    `InvalidFieldError`.
    """
    if not text:
        return None
    if len(text) > JSON_BYTES:
        raise InvalidFieldError(field, f"has {len(text):,} bytes", f"give at most {JSON_BYTES:,}")
    if not isinstance(_parsed(text, field), dict):
        raise InvalidFieldError(field, "is not a JSON object", 'give one, like {"key": "value"}')
    return text.decode()


def is_json(content_type: str) -> bool:
    """Whether content of this type is a JSON value, and no text."""
    essence = content_type.partition(";")[0].strip().lower()
    return essence == JSON or essence.endswith("+json")


def _kind(wish: Wish) -> Kind:
    given = {name: kind for name, kind in _WAYS.items() if getattr(wish, name)}
    if len(given) > 1:
        first, second, *_ = given
        raise InvalidFieldError(second, f"is given beside {first}", "give one of them")
    if not given:
        # As the documented client does for one file without a name.
        return "components"
    (kind,) = given.values()
    return kind


def _with_content(made: Asked, raw: bytes) -> Asked:
    if len(raw) > _ESCAPED:
        raise ContentTooLargeError(INLINE_BYTES)
    value = _parsed(raw, "content")
    if is_json(made.asset.content_type):
        body, text = raw, _words(value)
    elif isinstance(value, str):
        body, text = value.encode(), value
    else:
        raise InvalidFieldError(
            "content",
            f"is no text, and content_type is {made.asset.content_type}",
            "give a JSON string, or leave content_type out for any JSON value",
        )
    if len(body) > INLINE_BYTES:
        raise ContentTooLargeError(INLINE_BYTES)
    sha256 = hashlib.sha256(body).hexdigest()
    row = replace(made.asset, size_bytes=len(body), sha256=sha256)
    return replace(made, asset=row, content=body, text=searchable(text))


def _with_components(made: Asked, wish: Wish) -> Asked:
    files = wish.component_files or tuple(map(NewComponent, wish.components))
    where = "component_files" if wish.component_files else "components"
    if not files:
        files = (NewComponent(DEFAULT, content_type=wish.content_type),)
    checked = names.component_names([each.name for each in files], where)
    declared = tuple(
        _declared(replace(each, name=name), f"{where}[{at}].")
        for at, (each, name) in enumerate(zip(files, checked, strict=True))
    )
    rows = tuple(
        Component(each.name, each.content_type, new_id(made.asset.created_at)) for each in declared
    )
    return replace(made, asset=replace(made.asset, components=rows), declared=declared)


def _with_reference(made: Asked, wish: Wish) -> Asked:
    parts = urlsplit(wish.uri)
    plain = len(wish.uri.encode("utf-8", "surrogatepass")) <= 4_096 and wish.uri.isprintable()
    if not plain or parts.scheme not in ("s3", "gs") or not parts.netloc or not parts.path[1:]:
        raise InvalidFieldError(
            "uri", f"is {wish.uri[:80]!r}", "give s3://bucket/key or gs://bucket/key"
        )
    if parts.username is not None or parts.query or parts.fragment:
        mend = "leave out keys, query and fragment: everybody who may read the asset sees it"
        raise InvalidFieldError("uri", "has more than a bucket and a key", mend)
    size = _size(wish.size_bytes, "size_bytes")
    return replace(made, asset=replace(made.asset, uri=wish.uri, size_bytes=size))


def _declared(new: NewComponent, at: str) -> NewComponent:
    if new.sha256 is not None and not _SHA256.fullmatch(new.sha256):
        raise InvalidFieldError(f"{at}sha256", "is not a SHA-256", "give 64 hexadecimal digits")
    return replace(
        new,
        size_bytes=_size(new.size_bytes, f"{at}size_bytes"),
        sha256=None if new.sha256 is None else new.sha256.lower(),
        content_type=_media_type(new.content_type, f"{at}content_type")
        or names.content_type_of(new.name),
    )


def _content_type(wish: Wish, kind: Kind) -> str:
    usual = JSON if kind == "inline" else "application/octet-stream"
    return _media_type(wish.content_type, "content_type") or usual


def _media_type(text: str, field: str) -> str:
    if text and not _MEDIA_TYPE.fullmatch(text):
        raise InvalidFieldError(field, f"is {text[:80]!r}", "give one like text/markdown")
    return text


def _size(size: int | None, field: str) -> int | None:
    if size is not None and not 0 <= size <= _OBJECT_BYTES:
        raise InvalidFieldError(field, f"is {size:,}", f"give 0 to {_OBJECT_BYTES:,}")
    return size


def _reasons(reasons: Sequence[str]) -> tuple[str, ...]:
    if len(reasons) > REASONS:
        raise InvalidFieldError("pending_reasons", f"holds {len(reasons)}", f"give {REASONS}")
    return tuple(
        dict.fromkeys(
            names.asset_type(each, f"pending_reasons[{at}]") for at, each in enumerate(reasons)
        )
    )


def _output_of(output: OutputOf | None) -> OutputOf | None:
    if output is None:
        return None
    check_id(output.experiment_id, "output_of.experiment_id")
    if output.run is not None and output.variation is None:
        raise InvalidFieldError("output_of.variation", "is missing", "say whose run it is")
    for name in ("variation", "run"):
        number = getattr(output, name)
        if number is not None and number < 0:
            raise InvalidFieldError(f"output_of.{name}", f"is {number}", "give 0 or more")
    return output


def _require_rule(made: Asked) -> None:
    rule = RESERVED.get(made.asset.asset_type)
    if rule is None:
        return
    kind = made.asset.asset_type
    if made.asset.output_of is not None and not rule.may_be_output:
        raise InvalidFieldError(
            "output_of", f"is given, and a {kind} is no output", "link it as an input"
        )
    if rule.is_document and made.asset.kind == "reference":
        raise InvalidFieldError("uri", f"is given for a {kind}", "give its content")
    content = made.content if rule.is_document and is_json(made.asset.content_type) else None
    if content is not None and not content.lstrip().startswith(b"{"):
        mend = "give an object, or text with its content_type"
        raise InvalidFieldError("content", f"is no JSON object, as a {kind} is", mend)


def _parsed(text: bytes, field: str) -> Any:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidFieldError(field, f"is not JSON: {error}", "give one JSON value") from error
    if (depth := _depth(text)) > JSON_DEPTH:
        raise InvalidFieldError(field, f"is {depth} deep", f"give at most {JSON_DEPTH} levels")
    return value


def _depth(text: bytes) -> int:
    deepest = depth = 0
    for bracket in _BRACKETS.findall(_STRINGS.sub(b"", text)):
        if bracket in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        else:
            depth -= 1
    return deepest


def _words(value: Any) -> str:
    """Everything in a JSON value that somebody may look for, with the names of its fields."""
    found: list[str] = []
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            for key, inner in reversed(one.items()):
                waiting += (inner, key)
        elif isinstance(one, list):
            waiting += reversed(one)
        elif isinstance(one, str):
            found.append(one)
        elif isinstance(one, (int, float)) and not isinstance(one, bool):
            found.append(str(one))
    return " ".join(found)


def searchable(text: str) -> str:
    """Text as it is put into the index of words: PostgreSQL takes no NUL, and no more than this."""
    return text[:_SEARCHED].replace("\0", " ")
