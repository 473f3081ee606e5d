"""What this process has written and its index has not observed yet."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from asgard_server.run.ledger import Write
from asgard_server.run.store import Found, Key

# By then another replica has observed what this one could not.
FORGOTTEN_AFTER_S = 60.0
# Half the time after which others take a writer for dead.
BELIEVED_FOR_S = 5.0
_LOOKED_AT = 4_096


class Note(NamedTuple):
    """A write that is done. `replaced`: the stamp before it, None for a new document.

    `found`: the document as it was written, None when it must be read. `at`: when it was sent.
    """

    write: Write
    replaced: str | None
    found: Found | None
    at: float


class Written:
    """Notes of writes, for the index that observes them; for use from any thread.

    The index need not read back what was written in the place of the very state that its
    row tells of. When it has written its row, it ends the write in the same transaction.
    """

    def __init__(self) -> None:
        self._notes: dict[Key, list[Note]] = {}
        self._lock = threading.Lock()

    def note(
        self, write: Write, replaced: str | None, found: Found | None, at: float | None = None
    ) -> None:
        """Say that a document has been written, by a request sent at `at`, now unless given."""
        note = Note(write, replaced, found, time.monotonic() if at is None else at)
        with self._lock:
            self._notes.setdefault(write.key, []).append(note)
            if len(self._notes) > _LOOKED_AT:
                self._forget_old(note.at - FORGOTTEN_AFTER_S)

    def of(self, keys: Iterable[Key]) -> dict[Key, list[Note]]:
        """The notes of documents, oldest first, of those that have any."""
        with self._lock:
            return {key: list(notes) for key in keys if (notes := self._notes.get(key))}

    def tokens(self, keys: Iterable[Key]) -> set[str]:
        """The tokens of all notes of documents: of writes that are done."""
        return {note.write.token for notes in self.of(keys).values() for note in notes}

    def settled(self, notes: Iterable[Note]) -> None:
        """Say that the index has taken these in."""
        with self._lock:
            for note in notes:
                left = [one for one in self._notes.get(note.write.key, ()) if one is not note]
                if left:
                    self._notes[note.write.key] = left
                else:
                    self._notes.pop(note.write.key, None)

    def _forget_old(self, before: float) -> None:
        for key in [key for key, notes in self._notes.items() if notes[-1].at < before]:
            del self._notes[key]


def standing(notes: Sequence[Note], stamp: str | None) -> Found | None:
    """The document that these writes have made of the state `stamp`.

    None when they did not all follow from it, one after the other: somebody else has written
    between them, and only the place knows who was last. So where one took long: a writer who is
    taken for dead is not waited for, and what he has written may be gone.
    """
    found: Found | None = None
    late = time.monotonic() - BELIEVED_FOR_S
    for note in notes:
        if note.found is None or note.replaced != stamp or note.at < late:
            return None
        found, stamp = note.found, note.found.stamp
    return found
