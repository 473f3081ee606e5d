"""A gRPC channel to a service, plain or over TLS, whose calls can be found in the service's log."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from pathlib import Path
from secrets import token_hex
from typing import Any

import grpc
from gimle.asgard.core.errors import InvalidFieldError

# As a service names its own: who signs the service's certificate, and what is shown to it.
AUTHORITY = "ASGARD_TLS_CA_FILE"
# Who calls: an API key, or a token of the service's OIDC provider.
API_KEY = "ASGARD_API_KEY"
CERTIFICATE, KEY = "ASGARD_TLS_CERT_FILE", "ASGARD_TLS_KEY_FILE"


class Channel:
    """What a generated stub is made on. Each call carries an `x-request-id` of its own, and the
    API key or token that the environment names.

    Raises InvalidFieldError when the files that the environment names cannot be used.
    """

    def __init__(self, target: str, *, secure: bool, options: Any) -> None:
        self._arguments = {"target": target, "secure": secure, "options": options}
        self._stamp = _stamp() if secure else None
        self._channel: Any = (
            grpc.secure_channel(target, credentials(), options=options)
            if secure
            else grpc.insecure_channel(target, options=options)
        )

    def renewed(self) -> Channel:
        """A channel with the files as they now are: itself if they are the same, or unusable.

        They are unusable between two steps of a rotation. What was begun here goes on here.
        """
        if self._stamp is None or self._stamp == (now := _stamp()):
            return self
        try:
            return Channel(**self._arguments)
        except InvalidFieldError:
            self._stamp = now
            return self

    def close(self) -> None:
        """Close it. Calls under way end."""
        self._channel.close()

    def unary_unary(self, *arguments: Any, **options: Any) -> Callable[..., Any]:
        """Make a method of this channel."""
        return _identified(self._channel.unary_unary(*arguments, **options))

    def unary_stream(self, *arguments: Any, **options: Any) -> Callable[..., Any]:
        """Make a method of this channel."""
        return _identified(self._channel.unary_stream(*arguments, **options))

    def stream_unary(self, *arguments: Any, **options: Any) -> Callable[..., Any]:
        """Make a method of this channel."""
        return _identified(self._channel.stream_unary(*arguments, **options))

    def stream_stream(self, *arguments: Any, **options: Any) -> Callable[..., Any]:
        """Make a method of this channel."""
        return _identified(self._channel.stream_stream(*arguments, **options))


def _identified(method: Callable[..., Any]) -> Callable[..., Any]:
    def call(request: Any, timeout: float | None = None) -> Any:
        metadata = (("x-request-id", token_hex(8)), *_shown())
        return method(request, timeout=timeout, metadata=metadata)

    return call


def _shown() -> tuple[tuple[str, str], ...]:
    """What says who calls: nothing, unless the environment does."""
    key = os.environ.get(API_KEY, "").strip()
    if not key:
        return ()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise InvalidFieldError(API_KEY, "has characters that no key has", "give the key alone")
    return (("authorization", f"Bearer {key}"),)


def credentials() -> grpc.ChannelCredentials:
    """Whom to believe and what to show, as the environment says; gRPC's own list of authorities
    where it says nothing. Raises InvalidFieldError, naming the variable and the file.
    """
    authority, certificate, key = _read(AUTHORITY), _read(CERTIFICATE), _read(KEY)
    for given, other, missing in ((certificate, key, KEY), (key, certificate, CERTIFICATE)):
        if given and not other:
            raise InvalidFieldError(
                missing, "is not set", "a certificate and its key are given together"
            )
    if authority is not None:
        _check(AUTHORITY, lambda context, path: context.load_verify_locations(path))
    if certificate is not None:
        _check(CERTIFICATE, lambda context, path: context.load_cert_chain(path, os.environ[KEY]))
    return grpc.ssl_channel_credentials(authority, key, certificate)


def _read(variable: str) -> bytes | None:
    path = os.environ.get(variable)
    if not path:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InvalidFieldError(
            variable, f"{path} cannot be read ({error.strerror})", "give the path of a PEM file"
        ) from error


def _check(variable: str, load: Callable[[ssl.SSLContext, str], None]) -> None:
    """Let Python's ssl say what is wrong: gRPC would only never connect."""
    path = os.environ[variable]
    try:
        load(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), path)
    except ssl.SSLError as error:
        matches = error.reason != "KEY_VALUES_MISMATCH"
        raise InvalidFieldError(
            variable,
            f"{path} cannot be used ({error.reason})" if matches else f"{path} has another key",
            "give certificates in PEM, and the key that was issued with them",
        ) from error


def _stamp() -> tuple[tuple[str, int, int] | None, ...]:
    return tuple(_stamp_of(os.environ.get(each)) for each in (AUTHORITY, CERTIFICATE, KEY))


def _stamp_of(path: str | None) -> tuple[str, int, int] | None:
    if not path:
        return None
    try:
        status = os.stat(path)
    except OSError:
        return path, 0, 0
    return path, status.st_mtime_ns, status.st_ino
