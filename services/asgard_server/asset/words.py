"""Words as search knows them: letters and digits, small, without accents. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

_ASCII_WORD = re.compile(r"[0-9a-z]+")
_WORD = re.compile(r"[^\W_]+")

# A longer word is known by its beginning.
LETTERS = 100


def words(text: str) -> list[str]:
    """The words of a text in their order. Nothing but letters and digits is in them."""
    small = text.lower()
    if small.isascii():
        return [each[:LETTERS] for each in _ASCII_WORD.findall(small)]
    plain = "".join(
        letter
        for letter in unicodedata.normalize("NFD", small)
        if unicodedata.category(letter) != "Mn"
    )
    return [each[:LETTERS] for each in _WORD.findall(plain)]


def weighed(texts: Mapping[str, str], most_bytes: int) -> dict[str, str]:
    """Each word with the letters of the texts that it is in, as long as all are within a limit."""
    found: dict[str, str] = {}
    room = most_bytes
    for letter, text in texts.items():
        for word in dict.fromkeys(words(text)):
            if word not in found:
                room -= len(word.encode()) + 16
                if room < 0:
                    return found
            found[word] = found.get(word, "") + letter
    return found
