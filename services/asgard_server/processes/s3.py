"""The S3 store that settings name: where it is, and who signs requests to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from asgard_server.processes.signals import cancelled
from asgard_server.settings import S3Prefix, SettingError, Settings

if TYPE_CHECKING:  # the clients of S3 take half a second to import: a folder does without
    import boto3
    from gimle.asgard.core.s3.place import Place
    from gimle.asgard.core.signing import Credentials, Signer

_REGION = "us-east-1"


def s3_place(settings: Settings, prefix: S3Prefix) -> Place:
    """A prefix of a bucket, with the endpoint and the credentials of `settings`."""
    from gimle.asgard.core.s3.place import checked_place

    credentials = {
        "aws_access_key_id": settings.s3_access_key,
        "aws_secret_access_key": settings.s3_secret_key,
        "region_name": settings.s3_region,
    }
    place = checked_place(
        *(prefix.bucket, prefix.prefix, "ASGARD_STORAGE", "ASGARD_STORAGE"),
        endpoint=settings.s3_url,
        credentials={name: value for name, value in credentials.items() if value is not None},
    )
    return replace(place, encryption=_encryption(settings))


def _encryption(settings: Settings) -> dict[str, str]:
    if settings.s3_encryption == "none":
        return {}
    key = settings.s3_kms_key_id
    return {"ServerSideEncryption": settings.s3_encryption} | ({"SSEKMSKeyId": key} if key else {})


async def s3_signer(
    settings: Settings, clock: Callable[[], float], stack: AsyncExitStack, *, own: bool = False
) -> Signer:
    """Who signs URLs for the address that clients use, or for the store's own.

    Until `stack` is closed, credentials that are lent are renewed beside the loop. Raises
    `SettingError`.
    """
    import boto3
    from gimle.asgard.core.signing import Endpoint, Signer

    session = await asyncio.to_thread(boto3.Session)
    region = settings.s3_region or session.region_name or _REGION
    address = settings.s3_url if own else settings.s3_public_url or settings.s3_url
    endpoint = (
        Endpoint.parse(f"https://s3.{region}.amazonaws.com", style="virtual")
        if address is None
        else Endpoint.parse(address)
    )
    credentials = await _credentials(settings, session, stack)
    return Signer(endpoint, credentials, region=region, clock=clock)


async def _credentials(
    settings: Settings, session: boto3.Session, stack: AsyncExitStack
) -> Callable[[], Credentials]:
    from gimle.asgard.core.signing import Credentials, Lent

    from asgard_server.store.s3_keys import Renewed

    if settings.s3_access_key is not None and settings.s3_secret_key is not None:
        given = Credentials(settings.s3_access_key, settings.s3_secret_key)
        return lambda: given
    found = await asyncio.to_thread(session.get_credentials)
    if found is None:
        raise SettingError(
            "ASGARD_S3_ACCESS_KEY",
            "is not set, and AWS_* and this machine name no credentials either",
            "give it and ASGARD_S3_SECRET_KEY",
        )
    renewed = Renewed(settings.s3_url or "S3", Lent(found).credentials)
    await renewed.renew()
    stack.push_async_callback(cancelled, asyncio.create_task(renewed.run(), name="credentials"))
    return renewed.credentials
