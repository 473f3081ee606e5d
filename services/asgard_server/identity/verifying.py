"""Who shows a token: the look-up at its source, beside the rows of keys and users."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime

from gimle.asgard.core.access_errors import TokenExpiredError, UnauthenticatedError

from asgard_server.auth.oidc import Provider, Tokens
from asgard_server.auth.principal import LOCAL, LOCAL_SUB, Principal
from asgard_server.auth.verifying import Verified
from asgard_server.identity import domain, signing_in
from asgard_server.identity.domain import ApiKey
from asgard_server.identity.signing_in import ClaimNames, SignedIn
from asgard_server.identity.store import Directory, Rows

_REMEMBERED = 10_000
_KEY_PREFIXES = ("sk_user_", "sk_agent_", "sk_worker_")


@dataclass(frozen=True, slots=True)
class Oidc:
    """The provider whose tokens are taken, and what its claims are called."""

    provider: Provider
    tokens: Tokens
    names: ClaimNames


class LookUps:
    """Looks tokens up. `admins` are ids of users who administer identity.

    `takes_local`: whether a key of the local user is one, which is so where nobody has to say who
    they are.
    """

    def __init__(
        self,
        directory: Directory,
        clock: Callable[[], datetime],
        *,
        oidc: Oidc | None = None,
        admins: Collection[str] = (),
        takes_local: bool = False,
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._oidc = oidc
        self._admins = frozenset(admins)
        self._takes_local = takes_local
        self._taken_in: dict[str, SignedIn] = {}

    async def __call__(self, token: str) -> Verified:
        """Say who shows a token. Raises `UnauthenticatedError`, `TokenExpiredError`."""
        if token.startswith(_KEY_PREFIXES):
            return await self._of_key(token)
        if self._oidc is not None and token.count(".") == 2:
            return await self._of_provider(self._oidc, token)
        return Verified(None)

    async def _of_key(self, token: str) -> Verified:
        hashed = domain.hash_of(token)

        async def work(rows: Rows) -> tuple[ApiKey, Principal | None] | None:
            key = await rows.keys.hashed(hashed)
            return None if key is None else (key, await self._principal(rows, key))

        found = await self._directory.look(work)
        if found is None:
            return Verified(None)
        key, principal = found
        if key.revoked_at is not None:
            raise UnauthenticatedError("the API key has been revoked")
        if key.expires_at is not None and key.expires_at <= self._clock():
            raise TokenExpiredError("the API key has expired; make a new one")
        if principal is None:
            raise UnauthenticatedError("the user of this API key has been shut out")
        return Verified(principal, key.expires_at)

    async def _principal(self, rows: Rows, key: ApiKey) -> Principal | None:
        if key.sub == LOCAL_SUB:
            if not self._takes_local:
                return None
            if key.kind == "user":
                return replace(LOCAL, key_id=key.id)
            return Principal(LOCAL_SUB, key.kind, handle="@local", run=key.run, key_id=key.id)
        principal = await self._of_user(rows, key.sub)
        if principal is None:
            return None
        admin = principal.admin and key.kind == "user"
        return replace(principal, kind=key.kind, run=key.run, key_id=key.id, admin=admin)

    async def _of_provider(self, oidc: Oidc, token: str) -> Verified:
        claims = await oidc.tokens.claims(token)
        said = signing_in.said_by(claims, oidc.names)
        newest = self._taken_in.get(said.sub)
        if newest is None or (newest != said and not said.comes_before(newest)):
            asked = signing_in.asked_by(said, self._clock())
            await self._directory.change(
                lambda rows: signing_in.signed_in(rows, said, oidc.provider.issuer, asked)
            )
            self._take_in(said)
        principal = await self._directory.look(lambda rows: self._of_user(rows, said.sub))
        if principal is None:
            raise UnauthenticatedError("this user has been shut out")
        return Verified(principal, claims.expires_at)

    def _take_in(self, said: SignedIn) -> None:
        """Remember what has been brought into the rows: the same again changes nothing."""
        if len(self._taken_in) >= _REMEMBERED:
            self._taken_in.clear()
        self._taken_in[said.sub] = said

    async def _of_user(self, rows: Rows, sub: str) -> Principal | None:
        """A user as they stand in the rows; None for one who is not there, or is shut out."""
        user = await rows.users.find(sub)
        if user is None or user.disabled_at is not None:
            return None
        memberships = await rows.members.of_user(sub)
        return Principal(
            sub,
            organizations=frozenset(
                row.group_id for row, kind in memberships if kind == "organization"
            ),
            teams=frozenset(row.group_id for row, kind in memberships if kind == "team"),
            handle=f"@{user.handle}",
            admin=sub in self._admins,
        )
