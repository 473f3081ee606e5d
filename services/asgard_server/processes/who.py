"""How a process finds out who calls it, and what it shows the services that it calls itself."""

from __future__ import annotations

import secrets
from contextlib import AsyncExitStack
from dataclasses import dataclass

import grpc

from asgard_server.auth.asking import Asking
from asgard_server.auth.believing import CERTIFICATE, SERVICE_KEY, Believing, Headers, Verify
from asgard_server.auth.callers import Authenticate, everybody_is_local
from asgard_server.auth.verifying import Verifier
from asgard_server.processes.channels import channel_to
from asgard_server.rpc.channel import SignedChannel
from asgard_server.settings import Settings
from asgard_server.settings.who import check_can_ask


@dataclass(frozen=True, slots=True)
class Who:
    """Who calls, and who this process is.

    `authenticate` finds out who calls; `believing` is the same for those that come by HTTP, None
    where nobody is asked. `headers` are shown to other services.
    """

    authenticate: Authenticate = everybody_is_local
    believing: Believing | None = None
    headers: Headers = ()

    def signed(self, channel: grpc.aio.Channel) -> grpc.aio.Channel:
        """The channel, by which this process asks for itself."""
        return SignedChannel(channel, self.headers) if self.headers else channel


def who_calls(settings: Settings, stack: AsyncExitStack) -> Who:
    """How a process without IdentityService finds out who calls: it asks.

    `stack` closes the channel. Raises `SettingError`, `CertificateError`.
    """
    check_can_ask(settings)
    headers = headers_of(settings)
    if settings.identity_address is None:
        if not headers:
            return Who()
        return _who(settings, None, headers, settings.service_key)
    channel = channel_to(settings, settings.identity_address)
    stack.push_async_callback(channel.close)
    asking = Asking(SignedChannel(channel, headers), settings.identity_address)
    return _who(settings, Verifier(asking), headers, settings.service_key)


def who_of(settings: Settings, verify: Verify) -> Who:
    """How a process that has IdentityService finds out who calls: `verify` looks it up there."""
    return _who(settings, verify, headers_of(settings), settings.service_key)


def who_inside(settings: Settings, verify: Verify) -> Who:
    """The same for a process that has all services, and calls itself where nobody has a
    certificate: by a secret of its own, where no key is set.
    """
    key = settings.service_key or secrets.token_urlsafe(32)
    return _who(settings, verify, ((SERVICE_KEY, key),), key)


def headers_of(settings: Settings) -> Headers:
    """What a process shows the services it calls, so that they know it."""
    if settings.service_key is not None:
        return ((SERVICE_KEY, settings.service_key),)
    if settings.service_names:
        return ((SERVICE_KEY, CERTIFICATE),)
    return ()


def _who(
    settings: Settings, verify: Verify | None, headers: Headers, service_key: str | None
) -> Who:
    believing = Believing(
        verify,
        required=settings.auth == "required",
        service_key=service_key,
        service_names=settings.service_names,
    )
    return Who(believing, believing, headers)
