"""Names of assets, types and components: in one form, and none of them leads anywhere else."""

from __future__ import annotations

import mimetypes
import re
import unicodedata
from collections.abc import Iterable

from gimle.asgard.core.errors import InvalidFieldError

NAME_BYTES = 1_024
TYPE_CHARACTERS = 100
COMPONENTS = 10_000

_FORBIDDEN = frozenset({"Cc", "Cs", "Cn", "Zl", "Zp"})
_ALIAS = re.compile(r"(?![0-9]+$)[A-Za-z0-9._-]{1,63}")
# Most names are of such steps, and nothing needs to be asked of their letters one by one.
_STEP = r"[A-Za-z0-9_-][A-Za-z0-9._+=, -]*"
_is_simple = re.compile(rf"{_STEP}(/{_STEP})*").fullmatch
_TYPES = mimetypes.MimeTypes()
_FORMATS = {".npy": "application/octet-stream", ".md": "text/markdown", ".yaml": "text/yaml"}


def component_name(name: str, field: str) -> str:
    """Answer the name of a component in its one form (NFC). Raises `InvalidFieldError`.

    It is a path of steps between single slashes that stays within the folder it is saved to.
    """
    if len(name) <= NAME_BYTES and _is_simple(name):
        return name
    whole = _one_form(name, field)
    for step in whole.split("/"):
        if problem := _problem(step):
            mend = 'give steps between single slashes, like "index/items.ndjson"'
            raise InvalidFieldError(field, f"{name!r} {problem}", mend)
    return whole


def component_names(names: Iterable[str], field: str) -> list[str]:
    """Answer the names of an asset's components. Raises `InvalidFieldError`.

    None may be there twice, nor be a file and a folder at once.
    """
    checked = [component_name(name, f"{field}[{at}]") for at, name in enumerate(names)]
    if len(checked) > COMPONENTS:
        raise InvalidFieldError(
            field, f"has {len(checked):,} components", f"give at most {COMPONENTS:,}"
        )
    seen: set[str] = set()
    for at, name in enumerate(checked):
        if name in seen:
            mend = "give each name once"
            raise InvalidFieldError(f"{field}[{at}]", f"{name!r} is there twice", mend)
        seen.add(name)
    for at, name in enumerate(checked):
        folder = name.rpartition("/")[0]
        while folder:
            if folder in seen:
                mend = "a name is a file's or a folder's, not both"
                raise InvalidFieldError(f"{field}[{at}]", f"{name!r} is inside {folder!r}", mend)
            folder = folder.rpartition("/")[0]
    return checked


def asset_name(name: str, field: str = "name") -> str:
    """Answer the name of an asset in its one form. Raises `InvalidFieldError`.

    "@" is what stands between a name and its version.
    """
    whole = component_name(name, field)
    if "@" in whole:
        raise InvalidFieldError(
            field, f"{name!r} has an @", "that stands before a version or alias"
        )
    return whole


def asset_type(text: str, field: str = "asset_type") -> str:
    """Answer a type. Raises `InvalidFieldError`."""
    whole = unicodedata.normalize("NFC", text)
    if not whole.strip():
        raise InvalidFieldError(field, "is missing", 'give one, like "checkpoint"')
    if len(whole) > TYPE_CHARACTERS:
        mend = f"give at most {TYPE_CHARACTERS}"
        raise InvalidFieldError(field, f"has {len(whole):,} characters", mend)
    for letter in whole:
        if unicodedata.category(letter) in _FORBIDDEN:
            raise InvalidFieldError(field, f"has the character U+{ord(letter):04X}", "leave it out")
    return whole


def alias(text: str, field: str = "alias") -> str:
    """Answer an alias that people may set. Raises `InvalidFieldError`."""
    if not _ALIAS.fullmatch(text):
        mend = "give letters, digits, -, _ and ., at most 63, and not only digits"
        raise InvalidFieldError(field, f"is {text!r}", mend)
    if text == "latest":
        raise InvalidFieldError(field, "is 'latest', which moves by itself", "choose another one")
    return text


def content_type_of(name: str) -> str:
    """What a component is, by its name."""
    dot = name.rfind(".")
    known = _FORMATS.get(name[dot:].lower()) if dot > 0 else None
    return known or _TYPES.guess_type(name)[0] or "application/octet-stream"


def _one_form(name: str, field: str) -> str:
    whole = unicodedata.normalize("NFC", name)
    if len(whole.encode("utf-8", "surrogatepass")) > NAME_BYTES:
        raise InvalidFieldError(field, f"has more than {NAME_BYTES:,} bytes", "give a shorter one")
    return whole


def _problem(step: str) -> str:
    if not step:
        return "has an empty step"
    if step in (".", ".."):
        return f"has the step {step!r}"
    for letter in step:
        if letter == "\\" or unicodedata.category(letter) in _FORBIDDEN:
            return f"has the character U+{ord(letter):04X}"
    # A full-width slash or dot is read as a plain one by whoever folds it later.
    if (folded := unicodedata.normalize("NFKC", step)) != step and (
        folded in (".", "..") or "/" in folded or "\\" in folded
    ):
        return "has a step that looks like another path"
    return ""
