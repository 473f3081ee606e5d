"""What is done with API keys: making, listing, revoking."""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import datetime

from gimle.asgard.core.access_errors import ForbiddenError
from gimle.asgard.core.errors import NotFoundError
from gimle.asgard.core.ids import new_id

from asgard_server.auth.principal import Principal
from asgard_server.identity import domain, naming, rules
from asgard_server.identity.domain import ApiKey, Asked, Change, KeyWish
from asgard_server.identity.people import Told
from asgard_server.identity.store import Directory, Rows

# Of random bytes in a key; base64 makes 43 characters of them.
_RANDOM_BYTES = 32
_SHOWN_CHARACTERS = 4


class Keys:
    """API keys as their users see them."""

    def __init__(self, directory: Directory, told: Told) -> None:
        self._directory = directory
        self._told = told

    async def create(self, asked: Asked, wish: KeyWish, user: str = "") -> tuple[ApiKey, str]:
        """Make a key; answer what is known of it, and the key itself.

        Raises `InvalidFieldError`, `ForbiddenError`, `NotFoundError`.
        """
        by = asked.by
        expires_at = domain.expiry(wish, asked.at)
        key = f"sk_{wish.kind}_{secrets.token_urlsafe(_RANDOM_BYTES)}"
        made = ApiKey(
            id=f"key_{new_id(asked.at).replace('-', '')}",
            hash=domain.hash_of(key),
            kind=wish.kind,
            name=domain.name("name", wish.name),
            shown=_shown(key, wish.kind),
            sub=by.sub,
            run=wish.run,
            created_at=asked.at,
            created_by=by.sub,
            expires_at=expires_at,
        )

        async def work(rows: Rows) -> ApiKey:
            row = replace(made, expires_at=await _allowed(rows, asked, wish, expires_at))
            if user:
                found = await naming.resolve_user(rows, user)
                if found.id != by.sub:
                    rules.require_makes_keys_for(by, await rows.users.find(found.id))
                    row = replace(row, sub=found.id)
            owner = await rows.users.find(row.sub)
            if owner is not None and owner.disabled_at is not None:
                raise NotFoundError("user", user or by.sub)
            await rows.keys.add(row)
            details = {"user": row.sub, "kind": row.kind, "shown": row.shown}
            await rows.record(asked, Change("create", "api_key", row.id, details=details))
            return row

        return await self._directory.change(work), key

    async def page(
        self, by: Principal, user: str, behind: tuple[datetime, str] | None, limit: int
    ) -> list[ApiKey]:
        """Keys of a user, newest first. Raises `NotFoundError`, `ForbiddenError`."""

        async def work(rows: Rows) -> list[ApiKey]:
            sub = by.sub
            if user:
                sub = (await naming.resolve_user(rows, user)).id
                if sub != by.sub:
                    rules.require_administrator(by)
            return await rows.keys.page(sub, behind, limit)

        return await self._directory.look(work)

    async def revoke(self, asked: Asked, id: str) -> ApiKey:
        """End a key. Raises `NotFoundError`, also for one of somebody else; `ForbiddenError`."""
        by = asked.by

        async def work(rows: Rows) -> ApiKey:
            key = await rows.keys.find(id)
            if key is None or (key.sub != by.sub and not by.admin and not by.is_local):
                raise NotFoundError("key", id)
            if id != by.key_id:  # a program may end its own
                rules.require_person(by)
            if key.revoked_at is None:
                await rows.keys.revoke(id, asked.at)
                details = {"user": key.sub, "shown": key.shown}
                await rows.record(asked, Change("revoke", "api_key", id, details=details))
                key = replace(key, revoked_at=asked.at)
            return key

        ended = await self._directory.change(work)
        self._told()
        return ended


async def _allowed(
    rows: Rows, asked: Asked, wish: KeyWish, expires_at: datetime | None
) -> datetime | None:
    """Until when a key may live: what a program makes lives no longer than its own key."""
    by = asked.by
    if by.kind == "user":
        return expires_at
    if by.kind != "agent" or wish.kind != "worker":
        raise ForbiddenError(
            f"a key of kind {by.kind} makes none of kind {wish.kind}: agents make keys for workers"
        )
    own = await rows.keys.find(by.key_id)
    if own is None or own.expires_at is None:
        return expires_at
    return own.expires_at if expires_at is None else min(expires_at, own.expires_at)


def _shown(key: str, kind: str) -> str:
    prefix = f"sk_{kind}_"
    secret = key.removeprefix(prefix)
    return f"{prefix}{secret[:_SHOWN_CHARACTERS]}...{secret[-_SHOWN_CHARACTERS:]}"
