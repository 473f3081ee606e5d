"""The channel from one service to another; over TLS it follows the rotation of certificates."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import grpc

from asgard_server.rpc.credentials import Certificates, channel_credentials

# How often the files of certificates are looked at, at most.
_LOOK_SECONDS = 5.0

Options = Sequence[tuple[str, Any]]


def open_channel(
    target: str, certificates: Certificates | None = None, options: Options = ()
) -> grpc.aio.Channel:
    """A channel to `target`, any that gRPC takes; over TLS if there are certificates."""
    if certificates is None:
        return grpc.aio.insecure_channel(target, options=options)
    return RotatingChannel(target, certificates, options)


class SignedChannel(grpc.aio.Channel):
    """A channel whose every call carries these headers, before its own."""

    def __init__(self, channel: grpc.aio.Channel, headers: Options) -> None:
        self._channel = channel
        self._headers = tuple(headers)

    def unary_unary(self, *arguments: Any, **options: Any) -> Any:
        """Make a method whose calls carry the headers."""
        return self._signed(self._channel.unary_unary(*arguments, **options))

    def unary_stream(self, *arguments: Any, **options: Any) -> Any:
        """Make a method whose calls carry the headers."""
        return self._signed(self._channel.unary_stream(*arguments, **options))

    def stream_unary(self, *arguments: Any, **options: Any) -> Any:
        """Make a method whose calls carry the headers."""
        return self._signed(self._channel.stream_unary(*arguments, **options))

    def stream_stream(self, *arguments: Any, **options: Any) -> Any:
        """Make a method whose calls carry the headers."""
        return self._signed(self._channel.stream_stream(*arguments, **options))

    async def close(self, grace: float | None = None) -> None:
        """Close the channel below."""
        await self._channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """The state of the channel below."""
        return self._channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the channel below is in another state."""
        await self._channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until the channel below is connected."""
        await self._channel.channel_ready()

    async def __aenter__(self) -> SignedChannel:
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.close()

    def _signed(self, method: Any) -> Any:
        def call(*request: Any, metadata: Any = None, **how: Any) -> Any:
            return method(*request, metadata=(*self._headers, *(metadata or ())), **how)

        return call


class _Generation:
    """A channel with one set of certificates; closed when it is retired and its calls ended."""

    def __init__(self, channel: grpc.aio.Channel, version: int) -> None:
        self.channel = channel
        self.version = version
        self.calls = 0
        self.methods: dict[Any, Any] = {}


class RotatingChannel(grpc.aio.Channel):
    """A channel that is made anew when its certificates change; calls that are open go on."""

    def __init__(self, target: str, certificates: Certificates, options: Options = ()) -> None:
        self._target = target
        self._options = options
        self._certificates = certificates
        self._look_at = 0.0
        self._old: set[_Generation] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._now = self._make()

    def unary_unary(self, *arguments: Any, **options: Any) -> Any:
        """Make a method that is called on the channel of the moment."""
        return self._method("unary_unary", arguments, options)

    def unary_stream(self, *arguments: Any, **options: Any) -> Any:
        """Make a method that is called on the channel of the moment."""
        return self._method("unary_stream", arguments, options)

    def stream_unary(self, *arguments: Any, **options: Any) -> Any:
        """Make a method that is called on the channel of the moment."""
        return self._method("stream_unary", arguments, options)

    def stream_stream(self, *arguments: Any, **options: Any) -> Any:
        """Make a method that is called on the channel of the moment."""
        return self._method("stream_stream", arguments, options)

    async def close(self, grace: float | None = None) -> None:
        """Close it, when the calls that are open have ended, or `grace` seconds are over."""
        channels = [self._now.channel, *(each.channel for each in self._old)]
        self._old.clear()
        await asyncio.gather(*(channel.close(grace) for channel in channels), *self._closing)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """The state of the channel of the moment."""
        return self._channel().channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the channel of the moment is in another state."""
        await self._channel().channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until the channel of the moment is connected."""
        await self._channel().channel.channel_ready()

    async def __aenter__(self) -> RotatingChannel:
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.close()

    def _make(self) -> _Generation:
        contents = self._certificates.current()
        channel = grpc.aio.secure_channel(
            self._target, channel_credentials(contents), options=self._options
        )
        return _Generation(channel, self._certificates.version)

    def _channel(self) -> _Generation:
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + _LOOK_SECONDS
            self._certificates.current()
            if self._certificates.version != self._now.version:
                old, self._now = self._now, self._make()
                self._old.add(old)
                self._retire(old)
        return self._now

    def _retire(self, old: _Generation) -> None:
        if old.calls == 0 and old in self._old:
            self._old.discard(old)
            task = asyncio.ensure_future(old.channel.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def _method(self, kind: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        name = (kind, arguments, tuple(options.items()))

        def call(*request: Any, **how: Any) -> Any:
            generation = self._channel()
            method = generation.methods.get(name)
            if method is None:
                method = getattr(generation.channel, kind)(*arguments, **options)
                generation.methods[name] = method
            made = method(*request, **how)
            generation.calls += 1

            def ended(_: object) -> None:
                generation.calls -= 1
                self._retire(generation)

            made.add_done_callback(ended)
            return made

        return call
