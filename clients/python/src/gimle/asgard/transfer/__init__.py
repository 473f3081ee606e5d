"""Moving bytes straight to and from an object store: parallel, checked, resumable.

upload(tree(Path("results"), "results"), DirectUploads(bucket))
download([Wanted(remote, path)], DirectDownloads(bucket))
"""

from __future__ import annotations

from gimle.asgard.transfer.bucket import Bucket, Stored
from gimle.asgard.transfer.digests import Digest
from gimle.asgard.transfer.direct import DirectDownloads, DirectUploads
from gimle.asgard.transfer.downloading import download
from gimle.asgard.transfer.errors import (
    BusyError,
    RefusedError,
    TooLargeError,
    TransferError,
    TransferStoppedError,
    WrongBytesError,
)
from gimle.asgard.transfer.fetching import Wanted
from gimle.asgard.transfer.grants import (
    LARGE_BYTES,
    Begun,
    Downloads,
    Grant,
    Measured,
    Outgoing,
    Part,
    Remote,
    Uploads,
    part_bytes,
    parts_at_once,
)
from gimle.asgard.transfer.lanes import Work
from gimle.asgard.transfer.line import Views
from gimle.asgard.transfer.progress import Progress
from gimle.asgard.transfer.requesting import send
from gimle.asgard.transfer.trees import tree
from gimle.asgard.transfer.uploading import upload
from gimle.asgard.transfer.wire import Wire

__all__ = [
    "LARGE_BYTES",
    "Begun",
    "Bucket",
    "BusyError",
    "Digest",
    "DirectDownloads",
    "DirectUploads",
    "Downloads",
    "Grant",
    "Measured",
    "Outgoing",
    "Part",
    "Progress",
    "RefusedError",
    "Remote",
    "Stored",
    "TooLargeError",
    "TransferError",
    "TransferStoppedError",
    "Uploads",
    "Views",
    "Wanted",
    "Wire",
    "Work",
    "WrongBytesError",
    "download",
    "part_bytes",
    "parts_at_once",
    "send",
    "tree",
    "upload",
]
