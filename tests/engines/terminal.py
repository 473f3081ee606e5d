"""A terminal, for what is only said to one."""

from __future__ import annotations

import fcntl
import os
import pty
import struct

# TIOCSPTLCK and TIOCGPTN of Linux, which Python does not name.
_UNLOCK, _NUMBER = 0x40045431, 0x80045430


def a_terminal() -> tuple[int, int]:
    """Both sides of a new terminal."""
    try:
        return pty.openpty()
    except OSError:
        # Where /dev is bare: the file system of terminals has a multiplexer of its own.
        controller = os.open("/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY)
        fcntl.ioctl(controller, _UNLOCK, struct.pack("i", 0))
        (number,) = struct.unpack("I", fcntl.ioctl(controller, _NUMBER, bytes(4)))
        return controller, os.open(f"/dev/pts/{number}", os.O_RDWR | os.O_NOCTTY)
