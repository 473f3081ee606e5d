"""A relay before a store: counts the bytes of both directions, and can cut or signal at some."""

from __future__ import annotations

import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Relay:
    """Passes on what comes to `port`. `up` are the bytes to the store, `down` those from it.

    `reached` is set when `mark` bytes have gone in either direction; with `cuts` connections are
    closed instead, once for each number in it. What clients send that `holds` says yes to waits
    for `released`; `held` are so many. The next `lost` answers of the store are cut off. With `tls`
    it speaks TLS to its clients.
    """

    def __init__(self, store_port: int, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.up = self.down = 0
        self.mark: int | None = None
        self.reached = threading.Event()
        self.cuts: list[int] = []
        self.holds: Callable[[bytes], bool] = lambda data: False
        self.held = 0
        self.lost = 0
        self.released = threading.Event()
        self._store_port = store_port
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.1)
        self.port = int(self._listener.getsockname()[1])
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        """End all of it."""
        self._ended.set()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            client.settimeout(None)
            if self._tls is not None:
                try:
                    client = self._tls.wrap_socket(client, server_side=True)
                except OSError:  # it does not trust us
                    client.close()
                    continue
            thread = threading.Thread(target=self._pass_on, args=(client,))
            self._threads.append(thread)
            thread.start()

    def _pass_on(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._store_port)) as store:
            # What it has counted and not handed on would count as lost by whoever is killed.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
            while not self._ended.is_set():
                # What TLS has decrypted already, select does not see.
                more = isinstance(client, ssl.SSLSocket) and client.pending()
                ready = [client] if more else select.select([client, store], [], [], 0.1)[0]
                for source in ready:
                    try:
                        data = source.recv(1 << 16)
                        if not data or not self._counted(source is client, len(data)):
                            return
                        if source is client:
                            self._hold(data)
                        elif self._loses():
                            return
                        (store if source is client else client).sendall(data)
                    except OSError:
                        return

    def _loses(self) -> bool:
        with self._lock:
            lost = self.lost > 0
            self.lost -= lost
            return lost

    def _hold(self, data: bytes) -> None:
        if self.holds(data):
            with self._lock:
                self.held += 1
            while not (self.released.wait(0.1) or self._ended.is_set()):
                pass

    def _counted(self, up: bool, count: int) -> bool:
        """Count; answer False where the connection is to be cut."""
        with self._lock:
            if up:
                self.up += count
            else:
                self.down += count
            total = self.up + self.down
            if self.mark is not None and total >= self.mark:
                self.reached.set()
            if self.cuts and total >= self.cuts[0]:
                self.cuts.pop(0)
                return False
        return True


@contextmanager
def a_relay(store_port: int, tls: ssl.SSLContext | None = None) -> Iterator[Relay]:
    """A relay for one test."""
    relay = Relay(store_port, tls)
    try:
        yield relay
    finally:
        relay.close()
