"""Uploads that this process has begun lately: what their rows said then, to complete them by.

Of thousands of small files each batch is begun, sent and completed within a moment, mostly by one
replica. What its rows said is enough to look for its bytes; the row itself has the last word, for
it is changed only if it is still what it was. Whatever is another by then is looked up.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

from asgard_server.blob.domain import Blob

# Some megabytes of rows at most. What is forgotten is looked up.
_MOST = 4_096


class Lately:
    """Rows of uploads by id, the oldest forgotten first."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._rows: OrderedDict[str, Blob] = OrderedDict()

    def note(self, blobs: Iterable[Blob]) -> None:
        """Remember rows that have just been added."""
        for blob in blobs:  # OrderedDict.update takes three times as long
            self._rows[blob.id] = blob
        while len(self._rows) > self._most:
            self._rows.popitem(last=False)

    def of(self, ids: Sequence[str]) -> dict[str, Blob]:
        """Those of these uploads that are remembered."""
        return {blob_id: self._rows[blob_id] for blob_id in ids if blob_id in self._rows}

    def forget(self, ids: Iterable[str]) -> None:
        """Forget uploads that have ended, or are to be looked up."""
        for blob_id in ids:
            self._rows.pop(blob_id, None)
