"""Where a folder lies: on a disk of this machine, or across a network."""

from __future__ import annotations

import os
import re
from hashlib import blake2b
from pathlib import Path

# Others may write to these without our kernel hearing of it, and SQLite's shared memory
# does not work on them. 9p and virtiofs: a folder of a virtual machine's host.
_NETWORK = {
    "9p", "afs", "beegfs", "ceph", "cifs", "davfs", "glusterfs", "gpfs", "lustre", "ncpfs",
    "nfs", "nfs4", "ocfs2", "orangefs", "smb3", "smbfs", "virtiofs",
}  # fmt: skip
_NETWORK_FUSE = (
    "fuse.ceph", "fuse.davfs", "fuse.gcsfuse", "fuse.glusterfs", "fuse.goofys", "fuse.juicefs",
    "fuse.mount-s3", "fuse.rclone", "fuse.s3fs", "fuse.sshfs",
)  # fmt: skip


def is_network(folder: str | os.PathLike[str], mounts: Path = Path("/proc/self/mounts")) -> bool:
    """Whether `folder` lies on a network file system; False where that cannot be told."""
    try:
        lines = mounts.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return False
    place = Path(folder).resolve()
    best, kind = -1, ""
    for line in lines:
        fields = line.split()
        if len(fields) < 3:
            continue
        # Spaces in paths are written as \040 and so on.
        point = re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), fields[1])
        if place.is_relative_to(point) and len(point) >= best:
            best, kind = len(point), fields[2]
    return kind in _NETWORK or kind.startswith(_NETWORK_FUSE)


def index_path(folder: str | os.PathLike[str], storage_id: str | None, *, network: bool) -> Path:
    """Where the index of a storage belongs: in it, or in the user's cache folder.

    There if it lies across a network, or may not be written.
    """
    beside = Path(folder) / ".asgard"
    writable = os.access(beside if beside.is_dir() else folder, os.W_OK)
    if writable and not network:
        return beside / "index.sqlite3"
    return index_in_cache(storage_id or str(Path(folder).resolve()))


def index_in_cache(storage: str) -> Path:
    """Where the index of a storage lies that cannot hold it; `storage`: its id, or its place."""
    plain = re.fullmatch(r"[0-9A-Za-z-]{1,64}", storage)
    name = storage if plain else blake2b(os.fsencode(storage), digest_size=16).hexdigest()
    return cache_folder() / name / "index.sqlite3"


def cache_folder() -> Path:
    """The folder in the user's cache for what can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "asgard"
