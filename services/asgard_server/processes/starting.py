"""From the environment to a running process, with errors in one line and an exit status."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gimle.asgard.core.errors import AsgardError, StorageFullError

from asgard_server.processes.listening import AddressError, PortBusyError
from asgard_server.settings import SettingError, Settings

if TYPE_CHECKING:
    from asgard_server.rpc.tracing import Tracer

Serve = Callable[[Settings, "Tracer | None"], Coroutine[Any, Any, None]]
"""What a process does until it is stopped; with a tracer, what it serves makes spans."""


class StartError(Exception):
    """A process cannot run as it was told. Says why, and the `mend`."""

    def __init__(self, problem: str, mend: str = "") -> None:
        super().__init__(problem)
        self.mend = mend


def run(settings: Settings, serve: Serve, *, service: str) -> None:
    """Run a process to its end; `service` is what it is called in logs: run, gateway, all.

    Raises `StartError`, or `PortBusyError` for whoever can tell whose the port is.
    """
    refuse_strangers(settings, service)
    # Heavy, and not needed to say what is wrong above.
    import uvloop

    from asgard_server.logging import configure
    from asgard_server.rpc.credentials import CertificateError

    configure(settings.log_level, settings.log_format, service=service, replica=settings.replica)
    # Threads that wait for the disk come back often and briefly: at Python's own 5 ms each of
    # them would wait that long for the loop, and a call passes through two of them.
    sys.setswitchinterval(0.001)
    try:
        with _tracing(settings, service) as tracer:
            uvloop.run(serve(settings, tracer))
    except PortBusyError:
        raise
    except AddressError as error:
        low = error.errno == errno.EACCES
        mend = "choose a port above 1023" if low else "choose another --host"
        raise StartError(f"cannot listen on {settings.host}: {error.strerror}", mend) from error
    except StorageFullError as error:
        raise _full(settings, error) from error
    except (AsgardError, SettingError, CertificateError) as error:
        raise StartError(str(error)) from error


def _full(settings: Settings, error: StorageFullError) -> StartError:
    """Say that there is no room for an index, and how some is made without a service."""
    mend = "make room"
    if isinstance(settings.storage, Path):
        delete = f"asgard runs delete RUN... --storage {settings.storage}"
        mend += f", by deleting runs, too, which needs none and no service: {delete}"
    return StartError(f"{error.place} is on a full disk, and a service needs room to start", mend)


@contextmanager
def _tracing(settings: Settings, service: str) -> Iterator[Tracer | None]:
    """Make spans where settings ask for it; what has not been sent is sent at the end."""
    if settings.tracing == "none":
        yield None
        return
    from asgard_server.rpc.tracing import TracingMissingError, start_tracing

    try:
        tracer = start_tracing(service, settings.replica)
    except TracingMissingError as error:
        raise StartError(str(error)) from error
    try:
        yield tracer
    finally:
        tracer.close()


def refuse_strangers(settings: Settings, service: str) -> None:
    """Raise `StartError` if other machines could come in although nobody is identified.

    Who calls a `run` that asks for certificates is identified by one.
    """
    by_certificate = settings.tls_cert_file is not None and settings.tls_ca_file is not None
    identified = service == "run" and by_certificate
    identified = identified or settings.auth == "required"
    if settings.listens_beyond_loopback and not settings.insecure and not identified:
        raise StartError(
            f"{settings.host} can be reached by others, and nobody who calls is identified",
            "listen on 127.0.0.1, or ask everybody who they are (ASGARD_AUTH=required), or allow"
            " everybody who reaches it to read, change and delete everything: --insecure"
            " (ASGARD_INSECURE=true)",
        )


def port_busy(busy: PortBusyError) -> StartError:
    """Say that a port is taken, and how another one is chosen."""
    return StartError(
        f"port {busy.port} is in use by another program",
        f"choose another one: {busy.option} {busy.port + 1}, or {busy.option} 0 for any free port",
    )


def start(serve: Serve, *, service: str) -> int:
    """Serve as the environment says; say on standard error why not; answer the exit status."""
    from asgard_server.processes.saying import say_why_not

    settings: Settings | None = None
    try:
        try:
            settings = Settings.from_environment(os.environ)
            run(settings, serve, service=service)
        except PortBusyError as busy:
            raise port_busy(busy) from busy
        except SettingError as error:
            raise StartError(str(error)) from error
    except StartError as error:
        say_why_not(settings, service, error)
        return 1
    return 0
