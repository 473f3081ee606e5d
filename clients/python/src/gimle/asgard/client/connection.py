"""One service, reached by gRPC: deadlines, and repeats of what is safe to repeat.

Every call of a GrpcHome is safe to repeat: creates carry their ids, appends the length
they expect, updates an etag. So whatever may pass is tried again, with growing pauses of
random length, so that many clients do not come back at one moment.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal

import grpc
from gimle.asgard.client.attempts import Attempts, Passing
from gimle.asgard.client.channel import Channel, credentials
from gimle.asgard.client.errors import PASSING, too_late
from gimle.asgard.client.granted import GRANTS_LOST, GrantedArrays
from gimle.asgard.client.outgoing import STREAMED_BYTES, Outgoing
from gimle.asgard.client.transfers import Progress, Transfer
from gimle.asgard.core.errors import InvalidFieldError
from gimle.asgard.v1 import run_service_pb2_grpc as pb_grpc

_log = logging.getLogger("gimle.asgard")

# How long a call may take, and for how long calls that fail in passing are repeated.
CALL_SECONDS = 120.0
PATIENCE_SECONDS = 15.0

# What is allowed to large arrays on top of it: a way that is slower than this does not count.
SLOWEST_BYTES_A_SECOND = 1 << 20

_ADDRESS = re.compile(r"grpc(s?)://(\[[0-9A-Fa-f:.]+\]|[^/\[\]:@?#]+):(\d{1,5})/?", re.IGNORECASE)

_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # Repeats are made here, where it is known what is safe.
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # A call waits for its answer in silence: find out when nobody is there any more.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # A name with several addresses (a headless Service): call them in turn.
    ("grpc.service_config", '{"loadBalancingConfig":[{"round_robin":{}}]}'),
)


class Connection:
    """The channel to `where`, opened when it is first used.

    where: "grpc://host:port", or "grpcs://host:port" for TLS.

    patience: for how many seconds calls that fail in passing are repeated. timeout: how many
    seconds each attempt may take; with large arrays longer, by their size. progress: is told
    how far these have come. service: the generated stub of the service that is called. passing:
    the errors that may pass.

    Thread-safe; each process has its own channel. It may be pickled, without `progress`.
    """

    def __init__(
        self,
        where: str,
        *,
        patience: float = PATIENCE_SECONDS,
        timeout: float = CALL_SECONDS,
        progress: Progress | None = None,
        service: Any = pb_grpc.RunServiceStub,
        passing: Passing = PASSING,
    ) -> None:
        match = _ADDRESS.fullmatch(where)
        if match is None or int(match[3]) > 65_535:
            raise InvalidFieldError(
                "where",
                f"{where!r} is not the address of a service",
                "give it as grpc://host:port, or grpcs://host:port where the service has TLS",
            )
        for field, seconds in (("timeout", timeout), ("patience", patience)):
            if not 0 <= seconds <= 86_400 or (field == "timeout" and not seconds):
                raise InvalidFieldError(field, f"is {seconds}", "give seconds, at most 86,400")
        self.place = where
        self.timeout = timeout
        self._target = f"dns:///{match[2]}:{match[3]}"
        self._secure = bool(match[1])
        if self._secure:
            credentials()  # wrong files are found now, not at the first call
        self._patience = patience
        self._progress = progress
        # The generated stubs are typed for gRPC's own classes.
        self._service: Any = service
        self._passing = passing
        self.arrays = GrantedArrays(self)
        self._lock = threading.Lock()
        self._pid = 0
        self._channel: Channel | None = None
        self._stub: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Reach the same service from the process that this is sent to."""
        settings = {"patience": self._patience, "timeout": self.timeout, "service": self._service}
        settings["passing"] = self._passing
        return partial(Connection, **settings), (self.place,)

    def close(self) -> None:
        """Close the channel. It opens again when needed."""
        with self._lock:
            if self._channel is not None and self._pid == os.getpid():
                self._channel.close()
            self._channel = None

    @property
    def stub(self) -> Any:
        """The generated stub on this process's channel."""
        with self._lock:
            if self._channel is None or self._pid != os.getpid():
                self._pid = os.getpid()
                channel = Channel(self._target, secure=self._secure, options=_OPTIONS)
            else:
                channel = self._channel.renewed()
            if channel is not self._channel:
                self._channel, self._stub = channel, self._service(channel)
            return self._stub

    def call(
        self,
        method: str,
        request: Any,
        *,
        patience: float | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Call a method; answer its response. Raises as `errors.raised_by` says.

        `patience`: for how many seconds what fails in passing is repeated, `timeout`: how many
        seconds each attempt may take, where they are not those of the connection.
        """
        seconds = self.timeout if timeout is None else timeout
        for attempt in self.attempts(patience):
            with attempt:
                return getattr(self.stub, method)(request, timeout=seconds)
        raise AssertionError  # the last attempt raises

    def send(self, call: Outgoing, *, patience: float | None = None) -> Any:
        """Make a call that saves something, as `call` does.

        Large arrays go straight to the store, or in pieces where nobody grants that.
        """
        if call.streamed and (granted := self.arrays.sent(call, patience)) is not None:
            try:
                return self._send(granted, patience)
            except GRANTS_LOST:
                pass  # others have taken them for given up: once more, the other way
        return self._send(call, patience)

    def _send(self, call: Outgoing, patience: float | None) -> Any:
        if not call.streamed:
            return self.call(call.method, call.whole(), patience=patience)
        attempts = self.attempts(patience)
        sent = self.telling("up", call.id, call.nbytes, attempts)
        seconds = self.timeout + call.nbytes / SLOWEST_BYTES_A_SECOND
        for attempt in attempts:
            with attempt:
                answer = self.stub.WriteResult(call.parts(sent), timeout=seconds)
                return getattr(answer, answer.WhichOneof("answer"))
        raise AssertionError  # the last attempt raises

    def stream(self, method: str, request: Any) -> Stream:
        """Call a method that answers a stream, once."""
        return Stream(getattr(self.stub, method)(request), self.place, self.timeout)

    def attempts(self, patience: float | None = None) -> Attempts:
        """Attempts at something, until one of them neither raises nor fails in passing."""
        seconds = self._patience if patience is None else patience
        return Attempts(self.place, seconds, self._passing)

    def telling(
        self, direction: Literal["up", "down"], id: str, total: int, attempts: Attempts
    ) -> Callable[[int], None]:
        """What is to be told how many bytes of a transfer have gone."""
        progress = self._progress if total > STREAMED_BYTES else None

        def tell(done: int) -> None:
            nonlocal progress
            attempts.came(done)
            if progress is not None:
                try:
                    progress(Transfer(direction, id, done, total))
                except Exception:  # noqa: BLE001 - the author's; the save goes on
                    _log.exception("what is told of the progress of %s failed", id)
                    progress = None

        return tell


class Stream:
    """The answers of a call, which is ended when they do not come within `seconds`."""

    def __init__(self, call: Any, place: str, seconds: float) -> None:
        self._call = call
        self._place = place
        self._late = False
        self._timer = threading.Timer(0, self._end)
        self.allow(seconds)

    def allow(self, seconds: float) -> None:
        """Give the rest of the answers so long from now."""
        self._timer.cancel()
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True
        self._timer.start()

    def _end(self) -> None:
        self._late = True
        self._call.cancel()

    def __iter__(self) -> Iterator[Any]:
        """Raises grpc.RpcError, and StorageUnavailableError when the time is over."""
        try:
            yield from self._call
        except grpc.RpcError:
            if self._late:
                raise too_late(self._place) from None
            raise
        finally:
            self._timer.cancel()
            self._call.cancel()
