"""Resume tokens of watches: kind, epoch, revision and filter, opaque to clients."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from dataclasses import dataclass
from hashlib import blake2b
from struct import Struct
from struct import error as StructError

from gimle.asgard.core.errors import ResumeTokenUnusableError

_TOKEN = Struct(">c8s8sq")


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of one log. `kind` is a letter that no other log has, `watch` its RPC's name,
    `others` what a filter of it chooses; `unwritten` the epoch of a log that nothing was written
    to, behind which everything follows.
    """

    kind: bytes
    watch: str
    others: str
    unwritten: str = ""

    def maker(self, epoch: str, scope: str) -> TokenMaker:
        """The tokens of one epoch and one filter."""
        return TokenMaker(self, epoch, scope)


class TokenMaker:
    """The tokens of one epoch and one filter: only the revision differs between them."""

    def __init__(self, tokens: Tokens, epoch: str, scope: str) -> None:
        self._of = tokens
        self._epoch = _short(epoch)
        self._filter = _short(scope)

    def token(self, revision: int) -> str:
        """The token to resume from behind `revision`."""
        packed = _TOKEN.pack(self._of.kind, self._epoch, self._filter, revision)
        return urlsafe_b64encode(packed).decode().rstrip("=")

    def revision(self, token: str, head: int) -> int:
        """The revision a token stands for. Raises `ResumeTokenUnusableError`."""
        try:
            packed = urlsafe_b64decode(token + "=" * (-len(token) % 4))
            kind, epoch, chosen, revision = _TOKEN.unpack(packed)
        except (Base64Error, StructError, ValueError):
            kind, epoch, chosen, revision = b"", b"", b"", 0
        if kind != self._of.kind:
            raise unusable(f"it is no token of {self._of.watch}")
        if chosen != self._filter:
            raise unusable(f"it belongs to a watch of other {self._of.others}")
        if self._of.unwritten and epoch == _short(self._of.unwritten) and revision == 0:
            return 0
        if epoch != self._epoch or not 0 <= revision <= head:
            raise unusable("the index has been built anew since")
        return int(revision)


def unusable(why: str) -> ResumeTokenUnusableError:
    """The error for a token that cannot be resumed from."""
    return ResumeTokenUnusableError(f"resume_token cannot be used: {why}; start at a snapshot")


def _short(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=8).digest()
