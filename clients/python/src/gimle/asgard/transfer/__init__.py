"""Moving bytes straight to and from an object store: parallel, checked, resumable.

upload(tree(Path("results"), "results"), DirectUploads(bucket))
download([Wanted(remote, path)], DirectDownloads(bucket))
"""

from __future__ import annotations

from gimle.asgard.transfer.bucket import Bucket, Stored
from gimle.asgard.transfer.digests import Digest
from gimle.asgard.transfer.direct import DirectDownloads, DirectUploads
from gimle.asgard.transfer.downloading import Wanted, download
from gimle.asgard.transfer.errors import (
    BusyError,
    RefusedError,
    TooLargeError,
    TransferError,
    TransferStoppedError,
    WrongBytesError,
)
from gimle.asgard.transfer.grants import (
    Begun,
    Downloads,
    Grant,
    Measured,
    Outgoing,
    Part,
    Remote,
    Uploads,
    part_bytes,
)
from gimle.asgard.transfer.progress import Progress
from gimle.asgard.transfer.uploading import tree, upload

__all__ = [
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
    "Wanted",
    "WrongBytesError",
    "download",
    "part_bytes",
    "tree",
    "upload",
]
