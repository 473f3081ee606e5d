"""What a browser keeps for us: it can neither read nor change it (JWE, A256GCM)."""

from __future__ import annotations

import hmac
from typing import Any

import orjson
from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

_HEADER = {"alg": "dir", "enc": "A256GCM"}
_TAKEN = list(_HEADER.values())


class Seal:
    """Seals values with the first of several keys, and opens what any of them has sealed.

    `purpose` makes the keys other ones: what is sealed for one purpose is nothing for another.
    """

    def __init__(self, keys: tuple[str, ...], purpose: str) -> None:
        derived = (hmac.digest(key.encode(), purpose.encode(), "sha256") for key in keys)
        self._keys = [OctKey.import_key(key) for key in derived]

    def sealed(self, value: Any) -> str:
        """Text of letters, digits, `.`, `-` and `_` that holds a JSON value."""
        return jwe.encrypt_compact(_HEADER, orjson.dumps(value), self._keys[0], _TAKEN)

    def opened(self, text: str) -> Any:
        """The value; None for text that this seal has not made."""
        for key in self._keys:
            try:
                found = jwe.decrypt_compact(text, key, _TAKEN).plaintext
                return None if found is None else orjson.loads(found)
            except (JoseError, ValueError, TypeError, KeyError, AttributeError):
                continue
        return None
