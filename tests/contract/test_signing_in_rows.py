"""What tokens make of a user's rows, on both engines: whose they are, and what none takes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from asgard_server.auth.oidc import Claims
from asgard_server.auth.principal import LOCAL, Principal
from asgard_server.identity import signing_in
from asgard_server.identity.domain import Group, GroupKind, User
from asgard_server.identity.signing_in import ClaimNames
from asgard_server.identity.store import Rows
from asgard_server.store.sql.scopes import owner_named
from asgard_server.store.sql.session import Session
from gimle.asgard.core.access_errors import ForbiddenError, InUseError, UnauthenticatedError
from gimle.asgard.core.errors import NotFoundError

from tests.contract.identity_homes import A_USERS_KEY, NOON, Home, home
from tests.contract.sql_homes import ENGINES

OURS, THEIRS = "https://login.example.org", "https://other.example.org"
NAMES = ClaimNames("groups", "crews")
ROOT = Principal("root", handle="@root", admin=True)


@pytest.fixture(params=ENGINES)
async def there(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Home]:
    async with home(request.param, tmp_path) as opened:
        yield opened


async def shown(
    there: Home, issued_at: datetime | None = NOON, issuer: str = OURS, **values: Any
) -> User:
    """A token of the user "alice" is shown."""
    claims = Claims("alice", NOON + timedelta(days=1), values, issued_at)
    said = signing_in.said_by(claims, NAMES)
    asked = there.asked(Principal("alice"))
    return await there.directory.change(
        lambda rows: signing_in.signed_in(rows, said, issuer, asked)
    )


async def groups_of(there: Home, sub: str = "alice") -> set[str]:
    """The slugs of a user's organisations and teams."""

    async def work(rows: Rows) -> list[Group | None]:
        found = await rows.members.of_user(sub)
        return [await rows.groups.find(row.group_id) for row, _ in found]

    groups = await there.directory.look(work)
    return {group.slug for group in groups if group is not None}


async def test_the_user_of_one_provider_is_not_that_of_another_with_the_same_sub(
    there: Home,
) -> None:
    await shown(there, groups=["acme"])
    with pytest.raises(UnauthenticatedError, match="another provider"):
        await shown(there, issuer=THEIRS, groups=["beta"], name="Mallory")
    assert await groups_of(there) == {"acme"}
    user = await shown(there)
    assert (user.issuer, user.name) == (OURS, "alice")


async def test_who_was_made_here_is_the_user_of_the_provider_that_comes_first(there: Home) -> None:
    await there.people.create(there.asked(), "alice", "alice", "", None)
    assert (await shown(there)).issuer == OURS
    assert ("alice", "user.bind", "user", "alice") in await there.audit()
    with pytest.raises(UnauthenticatedError, match="another provider"):
        await shown(there, issuer=THEIRS)


async def test_an_older_token_takes_nothing_back_and_changes_nothing(there: Home) -> None:
    await shown(there, NOON, groups=["acme"], name="Alice")
    later = NOON + timedelta(minutes=5)
    await shown(there, later, groups=["acme", "beta"], name="Alice B.")
    before = await there.audit()
    user = await shown(there, NOON, groups=["acme"], name="Alice")
    assert (user.name, await groups_of(there)) == ("Alice B.", {"acme", "beta"})
    assert await there.audit() == before
    # Of the same moment, or one that does not say when it is of: as it says.
    await shown(there, later, groups=["beta"])
    assert await groups_of(there) == {"beta"}
    await shown(there, None, groups=["gamma"])
    assert await groups_of(there) == {"gamma"}
    await shown(there, NOON, groups=["acme"])
    assert await groups_of(there) == {"gamma"}


async def test_of_two_tokens_at_once_the_newer_one_is_what_stays(there: Home) -> None:
    await shown(there, NOON - timedelta(hours=1))
    for round in range(10):
        older, newer = (NOON + timedelta(minutes=2 * round + late) for late in (0, 1))
        calls = [
            shown(there, older, groups=[f"old-{round}"]),
            shown(there, newer, groups=[f"new-{round}"]),
        ]
        await asyncio.gather(*(calls if round % 2 else reversed(calls)))
        assert await groups_of(there) == {f"new-{round}"}


async def test_who_is_shut_out_while_they_sign_in_stays_out(there: Home) -> None:
    for round in range(5):
        user = await there.user(f"user-{round}")
        claims = Claims(user.sub, NOON, {"name": f"Name {round}"}, NOON)
        said = signing_in.said_by(claims, NAMES)
        asked = there.asked(user)

        async def sign_in(said: Any = said, asked: Any = asked) -> None:
            with suppress(UnauthenticatedError):
                await there.directory.change(
                    lambda rows: signing_in.signed_in(rows, said, OURS, asked)
                )

        await asyncio.gather(sign_in(), there.people.shut_out(there.asked(), user.sub), sign_in())
        found = await there.people.find(LOCAL, user.sub)
        assert found.disabled_at is not None


async def test_an_administrator_makes_no_keys_for_who_signs_in_themselves(there: Home) -> None:
    await shown(there)
    with pytest.raises(ForbiddenError, match="makes their keys themselves"):
        await there.keys.create(there.asked(ROOT), A_USERS_KEY, "@alice")
    await there.keys.create(there.asked(Principal("alice")), A_USERS_KEY)
    await there.keys.create(there.asked(LOCAL), A_USERS_KEY, "@alice")
    # Who cannot sign in has their first key from an administrator, and the audit says whose it is.
    await there.people.create(there.asked(ROOT), "", "robot", "", None)
    made, _ = await there.keys.create(there.asked(ROOT), A_USERS_KEY, "@robot")
    assert ("root", "api_key.create", "api_key", made.id) in await there.audit()


@pytest.mark.parametrize("kind", ["organization", "team"])
async def test_nothing_is_deleted_while_something_of_it_is_made(
    there: Home, kind: GroupKind
) -> None:
    group = await there.groups.create(there.asked(), kind, "acme", "")
    names = ("o/acme", "") if kind == "organization" else ("", "t/acme")
    deleting: list[asyncio.Task[None]] = []

    async def make(session: Session) -> None:
        owner = await owner_named(session, *names)
        if session.engine == "postgres":  # in SQLite writers come one by one anyway
            deleting.append(asyncio.create_task(_delete(there, group)))
            done, _ = await asyncio.wait(deleting, timeout=0.5)
            assert not done
        await session.run(
            "INSERT INTO experiments (id, state, title, hypothesis_summary, rationale,"
            " description, config_yaml, created_at, updated_at, created_by, organization_id,"
            " team_id, visibility, request_digest) VALUES ('of-acme', 'open', '', '', '', '', '',"
            " 0, 0, 'local', ?, ?, 'private', '')",
            *(owner.organization_id, owner.team_id),
        )

    await there.database.write(make)
    with pytest.raises(InUseError):
        await (deleting[0] if deleting else _delete(there, group))


async def test_what_is_deleted_is_nobodys(there: Home) -> None:
    acme = await there.groups.create(there.asked(), "organization", "acme", "")
    await _delete(there, acme)
    with pytest.raises(NotFoundError):
        await there.database.write(lambda session: owner_named(session, "o/acme", ""))


async def _delete(there: Home, group: Group) -> None:
    await there.groups.delete(there.asked(), group.handle, group.kind)
