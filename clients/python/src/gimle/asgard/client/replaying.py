"""Sending what waits in a spool: by one thread of one process, in the order of each run."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from time import sleep

from gimle.asgard.client.attempts import pause_before
from gimle.asgard.client.connection import Connection
from gimle.asgard.client.entries import Entry
from gimle.asgard.client.errors import PASSING
from gimle.asgard.client.spool import Spool
from gimle.asgard.core.errors import AsgardError, EtagMismatchError, NotFoundError
from gimle.asgard.v1 import run_service_pb2 as pb
from google.protobuf.message import DecodeError

_log = logging.getLogger("gimle.asgard")


@dataclass(frozen=True, slots=True)
class Pending:
    """A save that has not reached the service yet.

    action: the call of RunService it will be. id: the run or result it is about.
    refused: why the service refused it for good; None while it waits.
    """

    run_id: str
    id: str
    action: str
    saved_at: datetime
    refused: str | None = None


def pending(spool: Spool) -> list[Pending]:
    """What waits in a spool, in order, then what was refused."""
    waiting = [_pending(entry, None) for entry in spool.entries()]
    return waiting + [_pending(entry, reason) for entry, reason in spool.refused()]


def _pending(entry: Entry, refused: str | None) -> Pending:
    saved_at = datetime.fromtimestamp(entry.time / 1e9, UTC)
    return Pending(entry.run_id, entry.id, entry.method, saved_at, refused)


class Replayer:
    """Sends what waits in `spool`, in a thread that lives while something does."""

    def __init__(self, connection: Connection, spool: Spool) -> None:
        self._connection = connection
        self._spool = spool
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._news: list[str] = []

    def news(self) -> list[str]:
        """What has been refused since this was last asked."""
        with self._lock:
            news, self._news = self._news, []
        return news

    def wake(self) -> None:
        """See that somebody sends what waits."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._replay_all, name="asgard-spool", daemon=True
                )
                self._thread.start()

    def _replay_all(self) -> None:
        number = 1
        while True:
            try:
                with self._spool.replaying() as mine:
                    if mine and self._replay():
                        number = 0
            except Exception as error:  # noqa: BLE001 - a thread of its own: tell, and go on
                _log.warning("the spool %s: %s", self._spool.path, error)
            with self._lock:
                if self._spool.empty():
                    self._thread = None
                    return
            number += 1
            sleep(pause_before(number))

    def _replay(self) -> bool:
        """Send what waits, as far as the service takes it; answer whether it took anything."""
        refused: dict[str, str] = {}
        sent = False
        for entry in self._spool.entries():
            reason = refused.get(entry.run_id)
            if reason is None:
                try:
                    self._send(entry)
                    self._spool.done(entry)
                    sent = True
                    continue
                except PASSING:
                    break
                except (AsgardError, DecodeError, EOFError, KeyError, OSError, ValueError) as error:
                    reason = str(error)
                    refused[entry.run_id] = f"what was saved before it was refused: {reason}"
            self._spool.refuse(entry, reason)
            where = f"{self._spool.path}/refused"
            text = f"{entry.method} of {entry.id} was refused and lies in {where}"
            _log.error("%s: %s", text, reason)
            with self._lock:
                self._news.append(f"{text}: {reason}")
        self._spool.tidy()
        return sent

    def _send(self, entry: Entry) -> None:
        call = self._spool.call(entry)
        try:
            self._connection.send(call, patience=0)
        except NotFoundError:
            # Gone already, by an attempt before this one or by somebody else.
            if not entry.method.startswith("Delete"):
                raise
        except EtagMismatchError:
            # Changed by an attempt before this one, whose answer was lost?
            answer = self._connection.call("GetRun", pb.GetRunRequest(run_id=entry.run_id))
            if any(
                getattr(answer.run, name) != getattr(call.request, name)
                for name in call.request.update_mask.paths
            ):
                raise
