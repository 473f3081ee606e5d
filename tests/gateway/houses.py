"""A server that asks everybody who they are, and those it knows: `async with a_house(folder)`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.gateway.job_servers import BODY
from tests.gateway.monitors import Browser, Served, a_browser, a_monitor


@dataclass(frozen=True)
class Person:
    """Somebody with a key, who asks the server."""

    name: str
    key: str
    client: httpx.AsyncClient

    async def ask(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """Ask, and answer what came as JSON."""
        headers = {"authorization": f"Bearer {self.key}"}
        answer = await self.client.request(method, path, json=body, headers=headers, **more)
        assert answer.status_code in (200, 201, 204), f"{method} {path}: {answer.text}"
        return answer.json() if answer.content else None

    def listen(self, last_id: str = "") -> AbstractAsyncContextManager[Browser]:
        """Open /api/updates."""
        return a_browser(self.client, last_id, self.key)

    async def asset(self, **fields: Any) -> str:
        """Make an asset; answer its id."""
        wish = {"asset_type": "dataset", "content": {"a": 1}, "visibility": "private", **fields}
        made: str = (await self.ask("POST", "/v1/assets", wish))["asset_id"]
        return made

    async def experiment(self, **fields: Any) -> str:
        """Make an experiment; answer its id."""
        wish = {"hypothesis_summary": "it holds", **fields}
        made: str = (await self.ask("POST", "/v1/experiments", wish))["experiment"]["id"]
        return made

    async def job(self, **fields: Any) -> str:
        """Make a job; answer its id, as it is told."""
        return str((await self.ask("POST", "/api/jobs", {**BODY, **fields}))["id"])

    async def grant(self, asset: str, to: str, action: str = "read") -> None:
        """Let somebody do something with an asset."""
        body = {"principal_id": to, "action": action}
        await self.ask("POST", f"/v1/assets/{asset}/access", body)

    async def revoke(self, asset: str, of: str, action: str = "read") -> None:
        """Let them do that no more."""
        params = {"principal_id": of, "action": action}
        await self.ask("DELETE", f"/v1/assets/{asset}/access", params=params)


@dataclass(frozen=True)
class House:
    """A server, and who is known to it. `root` administers identity."""

    served: Served
    people: dict[str, Person]

    @property
    def root(self) -> Person:
        """Whoever administers identity, and sees nothing private by that."""
        return self.people["root"]

    def __getitem__(self, name: str) -> Person:
        return self.people[name]


@asynccontextmanager
async def a_house(
    storage: Path, names: Sequence[str] = ("alice", "bob"), **settings: Any
) -> AsyncIterator[House]:
    """Serve a folder to these people, each of whom is made, and has a key."""
    keys: dict[str, str] = {}
    async with a_monitor(storage) as served:
        for name in ("root", *names):
            made = await served.client.post("/v1/users", json={"id": f"sub-{name}", "handle": name})
            assert made.status_code == 200, made.text
            wish = {"name": "k", "key_type": "user", "user_id": f"@{name}"}
            keys[name] = (await served.client.post("/v1/api-keys", json=wish)).json()["key"]
    async with a_house_of(storage, keys, **settings) as house:
        yield house


@asynccontextmanager
async def a_house_of(storage: Path, keys: dict[str, str], **settings: Any) -> AsyncIterator[House]:
    """Serve a folder to people who have been made before."""
    given: dict[str, Any] = {"auth": "required", "admins": ("sub-root",), **settings}
    async with a_monitor(storage, **given) as served:
        yield House(served, {n: Person(n, key, served.client) for n, key in keys.items()})
