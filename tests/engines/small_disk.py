"""A disk of a few megabytes that is this test's own, so that it can be full.

It is a tmpfs in a mount namespace of its own, for which no more is needed than to be root or
to be allowed a user namespace. It is gone with the test, however that ends.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

# The mount is at hand as long as somebody holds the namespace: until its standard input ends.
_HOLD = 'mount -t tmpfs -o size="$1" tmpfs "$0" && echo mounted && exec cat'


@dataclass(frozen=True)
class SmallDisk:
    """A small disk. `path`: as seen from here. `inside`: as seen by what `entering` starts."""

    path: Path
    inside: Path
    holder: int

    def entering(self, *command: str) -> list[str]:
        """The command that runs `command` where the disk is mounted at `inside`."""
        own = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        into = ["nsenter", "--target", str(self.holder), "--mount", "--root"]
        return [*into, *own, "--", *command]

    def fill(self, leave: int = 0) -> None:
        """Write `ballast` until nothing fits any more but `leave` bytes, beside who writes too."""
        with (self.path / "ballast").open("ab") as ballast:
            while True:
                free = os.statvfs(self.path)
                more = free.f_bavail * free.f_frsize - leave
                if more < free.f_frsize:
                    return
                with suppress(OSError):  # somebody else was faster: look again
                    os.posix_fallocate(ballast.fileno(), ballast.seek(0, os.SEEK_END), more)

    def make_room(self) -> None:
        """Remove what `fill` wrote."""
        (self.path / "ballast").unlink(missing_ok=True)


@contextmanager
def small_disk(at: Path, size: int) -> Iterator[SmallDisk]:
    """Mount a disk of `size` bytes at the folder `at`, which is made."""
    at.mkdir(parents=True)
    apart = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    if subprocess.run([*apart, "true"], check=False, capture_output=True).returncode:
        # In a chroot the root is no mount whose propagation could be changed.
        apart += ["--propagation", "unchanged"]
    holder = subprocess.Popen(
        [*apart, "sh", "-c", _HOLD, str(at), str(size)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"mounted\n", (
            "a small disk needs root, or the permission to make user namespaces"
        )
        # unshare(1) becomes the shell and that becomes cat: the process is the one started.
        yield SmallDisk(Path(f"/proc/{holder.pid}/root{at}"), at, holder.pid)
    finally:
        holder.communicate()
