"""Names of blobs: labels that people read, in one form, that lead nowhere else."""

from __future__ import annotations

import re
import unicodedata

from gimle.asgard.core.errors import InvalidFieldError

NAME_BYTES = 1_024
NAME_STEP_BYTES = 255
# Most names are of such steps, and nothing needs to be asked of their letters one by one.
_STEP = rf"[A-Za-z0-9_-][A-Za-z0-9._~@+=, -]{{0,{NAME_STEP_BYTES - 1}}}"
_is_simple = re.compile(rf"{_STEP}(/{_STEP})*").fullmatch


def checked_name(name: str, field: str) -> str:
    """Answer the name in its one form. Raises `InvalidFieldError`.

    Two names that look the same are the same (NFC); nothing in them leads out of a folder.
    """
    if len(name) <= NAME_BYTES and _is_simple(name):
        return name
    whole = unicodedata.normalize("NFC", name)
    steps = whole.split("/")
    if len(whole.encode("utf-8", "surrogatepass")) > NAME_BYTES:
        raise InvalidFieldError(field, f"has more than {NAME_BYTES} bytes", "give a shorter name")
    for step in steps:
        if problem := _problem_of_step(step):
            raise InvalidFieldError(
                field,
                f"{name!r} {problem}",
                'give steps between single slashes, like "run-7/a.npy"',
            )
    return whole


def _problem_of_step(step: str) -> str:
    if not step:
        return "has an empty step"
    if step in (".", ".."):
        return f"has the step {step!r}"
    if len(step.encode("utf-8", "surrogatepass")) > NAME_STEP_BYTES:
        return f"has a step of more than {NAME_STEP_BYTES} bytes"
    for letter in step:
        if letter == "\\" or unicodedata.category(letter) in ("Cc", "Cs", "Cn", "Zl", "Zp"):
            return f"has the character U+{ord(letter):04X}"
    # A full-width slash or dot is read as a plain one by whoever folds it later.
    if (folded := unicodedata.normalize("NFKC", step)) != step and (
        folded in (".", "..") or "/" in folded or "\\" in folded
    ):
        return "has a step that looks like another path"
    return ""


def checked_prefix(prefix: str, field: str) -> str:
    """Answer the beginning of names. Raises `InvalidFieldError`."""
    if not prefix:
        raise InvalidFieldError(field, "is empty", 'give the beginning of names, like "run-7/"')
    checked_name(prefix.rstrip("/") or "/", field)
    return unicodedata.normalize("NFC", prefix)
