"""AssetService's insides in processes that are killed at a step of what they do to an asset.

    python -m tests.contract.asset_deaths WHAT SITE

Does WHAT again and again, each time with an asset of its own in a process of its own: the first
dies at its first step, the next at its second, until one comes to its end. A step is the moment
before or after anything that can be seen outside: a transaction, a call of BlobService, a request
of the client. It prints a JSON line for each asset that was acknowledged, and last the steps. It
forks: a death costs little.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import boto3
import structlog
from asgard_server.asset.wishes import NewComponent
from asgard_server.store.rpc_blobs import RpcBlobs
from asgard_server.store.sql.postgres import PostgresSessions
from asgard_server.store.sql.sqlite import SqliteSessions

from tests.contract.asset_homes import ADA, AssetHome, asset_home_at
from tests.contract.blob_deaths import Steps, sha
from tests.contract.blob_homes import Home, Site

BODY = b"some bytes"


def everywhere(steps: Steps) -> None:
    """Make steps of all that can be seen outside."""
    for database in (PostgresSessions, SqliteSessions):
        for name in ("write", "read", "look"):
            steps.around(database, name)
    for name in ("uploads", "renew", "complete", "claim", "release", "downloads", "write"):
        steps.around(RpcBlobs, name, f"blobs.{name}")
    steps.around(AssetHome, "send", "request")
    steps.around(Home, "send", "request")


async def inline(home: AssetHome, name: str) -> str:
    """Content in the call, and its first download."""
    made = await home.create(id=name, content=b'{"a": 1}', name="inline", digest="d")
    await home.keeper.show(ADA, name, presigned=True)
    return made.asset.id


async def finalized(home: AssetHome, name: str) -> str:
    """Components of every way, uploaded and finalized."""
    size = len(BODY)
    files = (NewComponent("plain"), NewComponent("checked", size, sha(BODY)))
    made = await home.create(id=name, component_files=files, name="net", digest="d")
    for answer in await home.send(made, BODY):
        assert answer.status_code in (200, 412), answer.text
    return (await home.finisher.finalize(ADA, name)).id


async def approved(home: AssetHome, name: str) -> str:
    """Finalized, and approved."""
    made = await home.create(id=name, components=("a",), pending_reasons=("r",), digest="d")
    await home.send(made, BODY)
    await home.finisher.finalize(ADA, name)
    return (await home.finisher.approve(ADA, name)).id


async def rejected(home: AssetHome, name: str) -> str:
    """Finalized, and rejected: nothing is left of its bytes."""
    made = await home.create(id=name, components=("a",), pending_reasons=("r",), digest="d")
    await home.send(made, BODY)
    await home.finisher.finalize(ADA, name)
    await home.finisher.reject(ADA, name, "no")
    return ""


async def deleted(home: AssetHome, name: str) -> str:
    """Finalized, and deleted, bytes and all: nothing is left."""
    made = await home.create(id=name, components=("a", "b"), name="gone", digest="d")
    await home.send(made, BODY)
    await home.finisher.finalize(ADA, name)
    await home.keeper.delete(ADA, name)
    # As whoever delivers does; he would also do what others who died have left.
    await home.blobs.release(made.asset.blobs_owner)
    return ""


WAYS: dict[str, Callable[[AssetHome, str], Awaitable[str]]] = {
    "inline": inline,
    "finalized": finalized,
    "approved": approved,
    "rejected": rejected,
    "deleted": deleted,
}


async def _one(what: str, where: Site, name: str, last: int) -> list[str]:
    """Do it once; answer the steps that were made."""
    async with asset_home_at(where) as home:
        steps = Steps(last)
        everywhere(steps)
        asset_id = await WAYS[what](home, name)
        if asset_id:
            os.write(1, (json.dumps({"id": asset_id}) + "\n").encode())
        return steps.names


def _forked(what: str, where: Site, name: str, last: int) -> bool:
    """Do it in a child; whether that came to its end."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            asyncio.run(_one(what, where, name, last))
            status = 0
        finally:
            os._exit(status)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), f"{name}, step {last}: it failed with {status}"
    return status == 0


def main(what: str, where: Site) -> None:
    """Die at every step."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    # What botocore knows of S3 is read once, not in every child.
    session = boto3.Session()
    session.client("s3", region_name="us-east-1").close()
    boto3.Session = lambda: session  # type: ignore[assignment,misc]
    last = 0
    while not _forked(what, where, f"{what}-{last + 1}", last + 1):
        last += 1
    print(json.dumps({"steps": last}))


if __name__ == "__main__":
    given: dict[str, Any] = json.loads(sys.argv[2])
    main(sys.argv[1], Site(**given))
