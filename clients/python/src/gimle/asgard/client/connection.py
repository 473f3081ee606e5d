"""One service, reached by gRPC: deadlines, and repeats of what is safe to repeat.

Every call of a GrpcHome is safe to repeat: creates carry their ids, appends the length
they expect, updates an etag. So whatever may pass is tried again, with growing pauses of
random length, so that many clients do not come back at one moment.
"""

from __future__ import annotations

import os
import random
import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
from gimle.asgard.client.errors import PASSING, raised_by
from gimle.asgard.client.outgoing import Outgoing
from gimle.asgard.core.errors import AsgardError, InvalidFieldError
from gimle.asgard.v1 import run_service_pb2_grpc as pb_grpc

# How long a call may take, and for how long calls that fail in passing are repeated.
CALL_SECONDS = 120.0
PATIENCE_SECONDS = 15.0

# What is allowed to large arrays on top of it: a way that is slower than this does not count.
SLOWEST_BYTES_A_SECOND = 1 << 20

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0

_ADDRESS = re.compile(r"grpc://(\[[0-9A-Fa-f:.]+\]|[^/\[\]:@?#]+):(\d{1,5})/?", re.IGNORECASE)

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
    """The channel to `where`, "grpc://host:port", opened when it is first used.

    patience: for how many seconds calls that fail in passing are repeated. seconds: how long
    each attempt may take; with large arrays longer, by their size.

    Thread-safe; each process has its own channel.
    """

    def __init__(
        self,
        where: str,
        *,
        patience: float = PATIENCE_SECONDS,
        seconds: float = CALL_SECONDS,
    ) -> None:
        match = _ADDRESS.fullmatch(where)
        if match is None or int(match[2]) > 65_535:
            raise InvalidFieldError(
                "where",
                f"{where!r} is not the address of a service",
                "give it as grpc://host:port, such as grpc://localhost:50051",
            )
        self.place = where
        self._target = f"dns:///{match[1]}:{match[2]}"
        self._patience = patience
        self._seconds = seconds
        self._lock = threading.Lock()
        self._pid = 0
        self._channel: Any = None
        self._stub: Any = None

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
                self._channel = grpc.insecure_channel(self._target, options=_OPTIONS)
                self._stub = pb_grpc.RunServiceStub(self._channel)
            return self._stub

    def call(
        self,
        method: str,
        request: Any,
        *,
        patience: float | None = None,
    ) -> Any:
        """Call a method; answer its response. Raises as `errors.raised_by` says.

        `patience`: for how many seconds what fails in passing is repeated, where it is not
        that of the connection.
        """
        for attempt in self.attempts(patience):
            with attempt:
                return getattr(self.stub, method)(request, timeout=self._seconds)
        raise AssertionError  # the last attempt raises

    def send(self, call: Outgoing, *, patience: float | None = None) -> Any:
        """Make a call that saves something, as `call` does; large arrays go in pieces."""
        if not call.streamed:
            return self.call(call.method, call.whole(), patience=patience)
        seconds = self._seconds + call.nbytes / SLOWEST_BYTES_A_SECOND
        for attempt in self.attempts(patience):
            with attempt:
                answer = self.stub.WriteResult(call.parts(), timeout=seconds)
                return getattr(answer, answer.WhichOneof("answer"))
        raise AssertionError  # the last attempt raises

    def attempts(self, patience: float | None = None) -> Iterator[Attempt]:
        """Attempts at something, until one of them neither raises nor fails in passing."""
        end = time.monotonic() + (self._patience if patience is None else patience)
        number = 0
        while True:
            pause = pause_before(number + 1)
            attempt = Attempt(self.place, number, last=time.monotonic() + pause > end)
            yield attempt
            if not attempt.failed:
                return
            number += 1
            time.sleep(pause)


class Attempt:
    """One attempt: swallows what may pass unless it is the last, translates the rest."""

    def __init__(self, place: str, number: int, *, last: bool) -> None:
        self.number = number
        self.failed = False
        self._place = place
        self._last = last

    def __enter__(self) -> Attempt:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        if error is None:
            return False
        raised: BaseException = error
        if isinstance(error, grpc.RpcError):
            raised = raised_by(error, self._place)
        elif not isinstance(error, AsgardError):
            return False
        if isinstance(raised, PASSING) and not self._last:
            self.failed = True
            return True
        raise raised from (error if raised is not error else error.__cause__)


def pause_before(number: int) -> float:
    """How long to wait before the attempt with this number, from 1."""
    longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(number, 10))
    return random.uniform(longest / 2, longest)  # noqa: S311  # spreads clients, hides nothing
