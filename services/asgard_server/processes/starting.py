"""From the environment to a running process, with errors in one line and an exit status."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from gimle.asgard.core.errors import AsgardError

from asgard_server.processes.listening import AddressError, PortBusyError
from asgard_server.settings import SettingError, Settings

Serve = Callable[[Settings], Coroutine[Any, Any, None]]


class StartError(Exception):
    """A process cannot run as it was told. Says why, and the `mend`."""

    def __init__(self, problem: str, mend: str = "") -> None:
        super().__init__(problem)
        self.mend = mend


def run(settings: Settings, serve: Serve) -> None:
    """Run a process to its end.

    Raises `StartError`, or `PortBusyError` for whoever can tell whose the port is.
    """
    refuse_strangers(settings)
    # Heavy, and not needed to say what is wrong above.
    import uvloop

    from asgard_server.logging import configure

    configure(settings.log_level, settings.log_format)
    # Threads that wait for the disk come back often and briefly: at Python's own 5 ms each of
    # them would wait that long for the loop, and a call passes through two of them.
    sys.setswitchinterval(0.001)
    try:
        uvloop.run(serve(settings))
    except PortBusyError:
        raise
    except AddressError as error:
        low = error.errno == errno.EACCES
        mend = "choose a port above 1023" if low else "choose another --host"
        raise StartError(f"cannot listen on {settings.host}: {error.strerror}", mend) from error
    except (AsgardError, SettingError) as error:
        raise StartError(str(error)) from error


def refuse_strangers(settings: Settings) -> None:
    """Raise `StartError` if other machines could come in although nobody is identified."""
    if settings.listens_beyond_loopback and not settings.insecure:
        raise StartError(
            f"{settings.host} can be reached by others, and nobody who calls is identified",
            "listen on 127.0.0.1, or allow everybody who reaches it to read, change and delete"
            " everything: --insecure (ASGARD_INSECURE=true)",
        )


def port_busy(busy: PortBusyError) -> StartError:
    """Say that a port is taken, and how another one is chosen."""
    return StartError(
        f"port {busy.port} is in use by another program",
        f"choose another one: {busy.option} {busy.port + 1}, or {busy.option} 0 for any free port",
    )


def start(serve: Serve) -> int:
    """Serve as the environment says; say on standard error why not; answer the exit status."""
    try:
        try:
            run(Settings.from_environment(os.environ), serve)
        except PortBusyError as busy:
            raise port_busy(busy) from busy
        except SettingError as error:
            raise StartError(str(error)) from error
    except StartError as error:
        sys.stderr.write(f"asgard: {error}\n" + (f"  {error.mend}\n" if error.mend else ""))
        return 1
    return 0
