"""What identity promises, over SQLite and PostgreSQL alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from asgard_server.auth.principal import LOCAL, Principal, RunScope
from asgard_server.identity import domain
from asgard_server.identity.domain import KeyWish
from asgard_server.identity.verifying import LookUps
from asgard_server.store.sql.session import Session
from gimle.asgard.core.access_errors import (
    ForbiddenError,
    InUseError,
    LastAdministratorError,
    TokenExpiredError,
    UnauthenticatedError,
)
from gimle.asgard.core.errors import (
    AlreadyExistsError,
    DeletedError,
    InvalidFieldError,
    NotFoundError,
)

from tests.contract.identity_homes import A_USERS_KEY, Home, home
from tests.contract.sql_homes import ENGINES

ROOT = Principal("root", admin=True)


@pytest_asyncio.fixture(params=ENGINES)
async def there(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Home]:
    async with home(request.param, tmp_path) as opened:
        yield opened


# Users ----------------------------------------------------------------------------------


async def test_a_user_is_found_by_id_and_by_handle(there: Home) -> None:
    made = await there.people.create(there.asked(), "auth0|7", "alice", "Alice", "a@example.org")
    assert (
        made
        == await there.people.find(LOCAL, "auth0|7")
        == await there.people.find(LOCAL, "@alice")
    )
    assert (await there.people.resolve("@alice")).id == "auth0|7"


async def test_who_is_given_no_name_is_called_by_the_handle(there: Home) -> None:
    made = await there.people.create(there.asked(), "", "@alice", "", None)
    assert (made.handle, made.name) == ("alice", "alice")


async def test_the_same_user_again_is_the_one_there_is(there: Home) -> None:
    first = await there.people.create(there.asked(), "", "alice", "Alice", None)
    assert await there.people.create(there.asked(), "", "alice", "Alice", None) == first
    with pytest.raises(AlreadyExistsError):
        await there.people.create(there.asked(), "", "alice", "Another", None)
    with pytest.raises(AlreadyExistsError):
        await there.people.create(there.asked(), "other", "alice", "Alice", None)


@pytest.mark.parametrize(
    "sub",
    [
        *("local", "service", "everyone", "org_1", "team_1", "o/acme", "@alice", "sk_user_1"),
        *("a b", "a\n"),
    ],
)
async def test_an_id_that_names_something_else_is_no_users(there: Home, sub: str) -> None:
    with pytest.raises(InvalidFieldError):
        await there.people.create(there.asked(), sub, "mallory", "", None)


@pytest.mark.parametrize("handle", ["", "Alice", "a b", "-a", "a/b", "local", "x" * 65, "ä", "a\n"])
async def test_a_handle_is_a_plain_word(there: Home, handle: str) -> None:
    with pytest.raises(InvalidFieldError, match="handle"):
        await there.people.create(there.asked(), "", handle, "", None)


async def test_users_know_those_they_share_something_with_and_no_others(there: Home) -> None:
    alice, bob = await there.user("alice"), await there.user("bob")
    await there.user("carol")
    await there.groups.create(there.asked(), "organization", "acme", "Acme")
    for user in (alice, bob):
        await there.groups.set_member(there.asked(), "o/acme", user.sub, "member")
    seen = await there.people.page(await there.again(alice), "", 10)
    assert [user.handle for user in seen] == ["alice", "bob"]
    assert (await there.people.find(await there.again(alice), "@bob")).sub == bob.sub
    with pytest.raises(NotFoundError):
        await there.people.find(await there.again(alice), "@carol")
    assert [user.handle for user in await there.people.page(ROOT, "", 2)] == ["alice", "bob"]
    assert [user.handle for user in await there.people.page(ROOT, "bob", 2)] == ["carol"]


async def test_an_address_is_told_to_its_owner_and_administrators_alone(there: Home) -> None:
    made = await there.people.create(there.asked(), "", "alice", "Alice", "a@example.org")
    bob = await there.user("bob")
    await there.groups.create(there.asked(), "organization", "acme", "Acme")
    for sub in (made.sub, bob.sub):
        await there.groups.set_member(there.asked(), "o/acme", sub, "member")
    assert (await there.people.find(await there.again(bob), "@alice")).email is None
    assert (await there.people.find(Principal(made.sub), "@alice")).email == "a@example.org"
    assert (await there.people.find(ROOT, "@alice")).email == "a@example.org"


async def test_who_is_shut_out_is_nobodys_member_and_their_keys_are_dead(there: Home) -> None:
    alice = await there.user("alice")
    await there.groups.create(there.asked(), "organization", "acme", "Acme")
    await there.groups.set_member(there.asked(), "o/acme", alice.sub, "member")
    _, key = await there.keys.create(there.asked(), A_USERS_KEY, alice.sub)
    await there.people.shut_out(there.asked(), "@alice")
    await there.people.shut_out(there.asked(), "@alice")
    members = await there.groups.members(LOCAL, "o/acme", "", 10)
    assert [named.membership.sub for named in members] == ["local"]
    with pytest.raises(UnauthenticatedError):
        await LookUps(there.directory, lambda: there.now)(key)
    with pytest.raises(DeletedError):
        await there.people.create(there.asked(), alice.sub, "alice", "Alice", None)
    with pytest.raises(NotFoundError):
        await there.keys.create(there.asked(), A_USERS_KEY, alice.sub)
    with pytest.raises(NotFoundError):
        await there.groups.set_member(there.asked(), "o/acme", "@alice", "member")


# Organisations and teams ----------------------------------------------------------------


async def test_who_makes_a_group_administers_it(there: Home) -> None:
    made = await there.groups.create(there.asked(ROOT), "organization", "acme", "")
    assert (made.name, made.handle, made.id[:4]) == ("acme", "o/acme", "org_")
    members = await there.groups.members(ROOT, made.id, "", 10)
    assert [(m.membership.sub, m.membership.role) for m in members] == [("root", "admin")]
    with pytest.raises(AlreadyExistsError):
        await there.groups.create(there.asked(ROOT), "organization", "acme", "")


async def test_a_group_is_shown_to_its_members_and_nobody_else(there: Home) -> None:
    alice, bob = await there.user("alice"), await there.user("bob")
    await there.groups.create(there.asked(), "organization", "acme", "Acme")
    await there.groups.create(there.asked(), "organization", "other", "")
    await there.groups.create(there.asked(), "team", "ml", "", "o/acme")
    await there.groups.create(there.asked(), "team", "alone", "")
    await there.groups.set_member(there.asked(), "o/acme", alice.sub, "member")
    alice = await there.again(alice)
    assert [g.slug for g in await there.groups.page(alice, "organization", "", 9)] == ["acme"]
    # Who is a member of the organisation sees its teams.
    assert [g.slug for g in await there.groups.page(alice, "team", "", 9)] == ["ml"]
    assert [g.slug for g in await there.groups.page(LOCAL, "team", "", 9)] == ["alone", "ml"]
    assert [g.slug for g in await there.groups.page(LOCAL, "team", "", 9, "o/acme")] == ["ml"]
    assert await there.groups.page(bob, "organization", "", 9) == []
    for kind, handle in (("organization", "o/acme"), ("team", "t/ml")):
        with pytest.raises(NotFoundError):
            await there.groups.find(bob, handle, kind)  # type: ignore[arg-type]  # both are kinds
        with pytest.raises(NotFoundError):
            await there.groups.members(bob, handle, "", 9)
    with pytest.raises(NotFoundError):
        await there.groups.find(LOCAL, "t/ml", "organization")


async def test_administrators_change_a_group_and_members_do_not(there: Home) -> None:
    alice, bob = await there.user("alice"), await there.user("bob")
    await there.groups.create(there.asked(), "organization", "acme", "Acme")
    await there.groups.set_member(there.asked(), "o/acme", alice.sub, "admin")
    await there.groups.set_member(there.asked(), "o/acme", bob.sub, "member")
    alice, bob = await there.again(alice), await there.again(bob)
    carol = await there.user("carol")
    for attempt in (
        there.groups.set_member(there.asked(bob), "o/acme", carol.sub, "member"),
        there.groups.set_member(there.asked(bob), "o/acme", bob.sub, "admin"),
        there.groups.remove_member(there.asked(bob), "o/acme", alice.sub),
        there.groups.delete(there.asked(bob), "o/acme", "organization"),
        there.groups.create(there.asked(bob), "team", "ml", "", "o/acme"),
        there.groups.create(there.asked(alice), "organization", "more", ""),
        there.groups.create(there.asked(alice), "team", "more", ""),
        there.people.create(there.asked(alice), "", "dave", "", None),
        there.people.shut_out(there.asked(alice), bob.sub),
    ):
        with pytest.raises(ForbiddenError):
            await attempt
    await there.groups.set_member(there.asked(alice), "o/acme", "@carol", "member")
    team = await there.groups.create(there.asked(alice), "team", "ml", "", "o/acme")
    # An organisation's administrator administers its teams, also those that others have made.
    await there.groups.set_member(there.asked(alice), "t/ml", carol.sub, "admin")
    await there.groups.remove_member(there.asked(alice), "t/ml", alice.sub)
    await there.groups.remove_member(there.asked(alice), "t/ml", carol.sub)
    await there.groups.delete(there.asked(alice), team.id, "team")


async def test_a_program_changes_nothing_of_identity(there: Home) -> None:
    alice = await there.user("alice")
    await there.groups.create(there.asked(), "organization", "acme", "Acme")
    await there.groups.set_member(there.asked(), "o/acme", alice.sub, "admin")
    for kind in ("agent", "worker"):
        program = replace(await there.again(alice), kind=kind, admin=True)
        for attempt in (
            there.groups.set_member(there.asked(program), "o/acme", alice.sub, "member"),
            there.groups.remove_member(there.asked(program), "o/acme", alice.sub),
            there.groups.create(there.asked(program), "organization", "more", ""),
            there.people.create(there.asked(program), "", "bob", "", None),
        ):
            with pytest.raises(ForbiddenError):
                await attempt


async def test_the_last_administrator_of_an_organisation_stays(there: Home) -> None:
    alice, bob = await there.user("alice"), await there.user("bob")
    await there.groups.create(there.asked(), "organization", "acme", "Acme")
    await there.groups.set_member(there.asked(), "o/acme", alice.sub, "admin")
    await there.groups.remove_member(there.asked(), "o/acme", "@local")
    for attempt in (
        there.groups.remove_member(there.asked(), "o/acme", alice.sub),
        there.groups.set_member(there.asked(), "o/acme", alice.sub, "member"),
        there.people.shut_out(there.asked(), alice.sub),
    ):
        with pytest.raises(LastAdministratorError, match="@alice is the last administrator"):
            await attempt
    await there.groups.set_member(there.asked(), "o/acme", bob.sub, "admin")
    assert await there.groups.remove_member(there.asked(), "o/acme", alice.sub)
    assert not await there.groups.remove_member(there.asked(), "o/acme", alice.sub)


async def test_of_two_administrators_who_remove_each_other_one_stays(there: Home) -> None:
    for number in range(5):
        org = f"o/acme-{number}"
        await there.groups.create(there.asked(), "organization", org[2:], "")
        alice, bob = await there.user(f"alice-{number}"), await there.user(f"bob-{number}")
        for user in (alice, bob):
            await there.groups.set_member(there.asked(), org, user.sub, "admin")
        await there.groups.remove_member(there.asked(), org, "local")
        alice, bob = await there.again(alice), await there.again(bob)
        ended = await asyncio.gather(
            there.groups.remove_member(there.asked(alice), org, bob.sub),
            there.groups.remove_member(there.asked(bob), org, alice.sub),
            there.people.shut_out(there.asked(), alice.sub),
            return_exceptions=True,
        )
        left = await there.groups.members(LOCAL, org, "", 9)
        assert [named.membership.role for named in left] == ["admin"], ended


async def test_who_joins_a_team_of_an_organisation_is_a_member_of_that(there: Home) -> None:
    alice = await there.user("alice")
    await there.groups.create(there.asked(), "organization", "acme", "Acme")
    await there.groups.create(there.asked(), "team", "ml", "", "o/acme")
    with pytest.raises(InvalidFieldError, match="no member of o/acme"):
        await there.groups.set_member(there.asked(), "t/ml", "@alice", "member")
    await there.groups.set_member(there.asked(), "o/acme", "@alice", "member")
    await there.groups.set_member(there.asked(), "t/ml", "@alice", "member")
    assert len((await there.again(alice)).teams) == 1
    # And who leaves the organisation leaves its teams.
    await there.groups.remove_member(there.asked(), "o/acme", "@alice")
    assert (await there.again(alice)).keys == {alice.sub, "everyone"}


async def test_a_group_that_something_belongs_to_is_not_deleted(there: Home) -> None:
    org = await there.groups.create(there.asked(), "organization", "acme", "")
    await there.groups.create(there.asked(), "team", "ml", "", "o/acme")

    async def own(session: Session) -> None:
        for number in range(2):
            await session.run(
                "INSERT INTO experiments (id, state, title, hypothesis_summary, rationale,"
                " description, config_yaml, created_at, updated_at, created_by, organization_id,"
                " visibility, request_digest) VALUES (?, 'open', '', '', '', '', '', 0, 0, 'local',"
                " ?, 'private', '')",
                f"experiment-{number}",
                org.id,
            )

    await there.database.write(own)
    with pytest.raises(InUseError) as refused:
        await there.groups.delete(there.asked(), "o/acme", "organization")
    assert refused.value.counts == {"teams": 1, "experiments": 2}
    await there.groups.delete(there.asked(), "t/ml", "team")
    with pytest.raises(NotFoundError):
        await there.groups.delete(there.asked(), "t/ml", "team")


async def test_scopes_are_oneself_then_organisations_then_teams(there: Home) -> None:
    alice = await there.user("alice")
    for slug in ("beta", "acme", "zeta"):
        await there.groups.create(there.asked(), "organization", slug, "")
    await there.groups.create(there.asked(), "team", "ml", "", "o/acme")
    for group in ("o/beta", "o/acme", "t/ml"):
        await there.groups.set_member(there.asked(), group, "@alice", "member")
    scopes = await there.groups.scopes(await there.again(alice))
    assert scopes.user is not None
    assert [group.slug for group in scopes.organizations] == ["acme", "beta"]
    assert [group.slug for group in scopes.teams] == ["ml"]
    assert len((await there.groups.scopes(LOCAL)).organizations) == 3


async def test_handles_stand_for_ids_of_every_kind(there: Home) -> None:
    alice = await there.user("alice")
    org = await there.groups.create(there.asked(), "organization", "acme", "")
    team = await there.groups.create(there.asked(), "team", "ml-team", "")
    for given, id in (
        ("@alice", alice.sub),
        (alice.sub, alice.sub),
        ("o/acme", org.id),
        (org.id, org.id),
        ("t/ml-team", team.id),
        ("everyone", "everyone"),
        ("@local", "local"),
        ("local", "local"),
    ):
        assert (await there.people.resolve(given)).id == id
    for unknown in ("", "@bob", "o/ml-team", "t/acme", "acme", "org_1", "' OR 1=1 --"):
        with pytest.raises(NotFoundError, match="no principal"):
            await there.people.resolve(unknown)


# Keys -----------------------------------------------------------------------------------


async def test_a_key_is_kept_as_its_digest_alone(there: Home, tmp_path: Path) -> None:
    made, key = await there.keys.create(there.asked(), A_USERS_KEY)
    assert key.startswith("sk_user_")
    assert len(key) == len("sk_user_") + 43  # 256 bits
    assert made.shown == f"{key[:12]}...{key[-4:]}"

    async def everything(session: Session) -> str:
        tables = ("api_keys", "audit")
        return str([await session.all(f"SELECT * FROM {table}") for table in tables])

    kept = await there.database.read(everything)
    assert key not in kept
    assert key.removeprefix("sk_user_") not in kept
    assert domain.hash_of(key) in kept


async def test_a_key_is_its_user_until_it_expires_or_is_revoked(there: Home) -> None:
    alice = await there.user("alice")
    look_up = LookUps(there.directory, lambda: there.now, admins=[alice.sub])
    wish = replace(A_USERS_KEY, days=1)
    made, key = await there.keys.create(there.asked(), wish, "@alice")
    found = await look_up(key)
    assert found.expires_at == made.expires_at == made.created_at + timedelta(days=1)
    assert found.principal == Principal(alice.sub, handle="@alice", key_id=made.id, admin=True)
    there.now += timedelta(days=1)
    with pytest.raises(TokenExpiredError):
        await look_up(key)
    there.now -= timedelta(days=1)
    before = there.told
    await there.keys.revoke(there.asked(alice), made.id)
    assert there.told == before + 1
    with pytest.raises(UnauthenticatedError, match="revoked"):
        await look_up(key)
    assert (await look_up("sk_user_" + "x" * 43)).principal is None


async def test_an_agents_key_lives_for_ninety_days_and_never_administers(there: Home) -> None:
    alice = await there.user("alice")
    look_up = LookUps(there.directory, lambda: there.now, admins=[alice.sub])
    made, key = await there.keys.create(there.asked(alice), replace(A_USERS_KEY, kind="agent"))
    assert made.expires_at == made.created_at + timedelta(days=90)
    principal = (await look_up(key)).principal
    assert principal is not None
    assert (principal.kind, principal.admin) == ("agent", False)


async def test_a_workers_key_is_tied_to_its_run(there: Home) -> None:
    alice = await there.user("alice")
    wish = replace(A_USERS_KEY, kind="worker", run=RunScope("e", 1, 2))
    _, key = await there.keys.create(there.asked(alice), wish)
    found = (await LookUps(there.directory, lambda: there.now)(key)).principal
    assert found is not None
    assert (found.kind, found.run) == ("worker", RunScope("e", 1, 2))


async def test_an_agent_makes_keys_for_workers_that_live_no_longer_than_its_own(
    there: Home,
) -> None:
    alice = await there.user("alice")
    own, key = await there.keys.create(there.asked(alice), replace(A_USERS_KEY, kind="agent"))
    agent = (await LookUps(there.directory, lambda: there.now)(key)).principal
    assert agent is not None
    wish = replace(A_USERS_KEY, kind="worker", run=RunScope("e", 0, 0))
    made, _ = await there.keys.create(there.asked(agent), wish)
    assert (made.sub, made.expires_at) == (alice.sub, own.expires_at)
    made, _ = await there.keys.create(there.asked(agent), replace(wish, days=1))
    assert made.expires_at == made.created_at + timedelta(days=1)
    for wanted in (A_USERS_KEY, replace(A_USERS_KEY, kind="agent")):
        with pytest.raises(ForbiddenError):
            await there.keys.create(there.asked(agent), wanted)
    with pytest.raises(ForbiddenError):
        await there.keys.create(there.asked(replace(agent, kind="worker")), wish)
    with pytest.raises(ForbiddenError):
        await there.keys.revoke(there.asked(agent), made.id)
    await there.keys.revoke(there.asked(agent), own.id)


async def test_keys_of_others_are_administrators_business(there: Home) -> None:
    alice, bob = await there.user("alice"), await there.user("bob")
    made, _ = await there.keys.create(there.asked(alice), A_USERS_KEY)
    with pytest.raises(NotFoundError):
        await there.keys.revoke(there.asked(bob), made.id)
    with pytest.raises(ForbiddenError):
        await there.keys.create(there.asked(bob), A_USERS_KEY, "@alice")
    with pytest.raises(ForbiddenError):
        await there.keys.page(bob, "@alice", None, 9)
    assert await there.keys.page(bob, "", None, 9) == []
    assert [key.id for key in await there.keys.page(ROOT, "@alice", None, 9)] == [made.id]
    ended = await there.keys.revoke(there.asked(ROOT), made.id)
    assert (await there.keys.revoke(there.asked(ROOT), made.id)).revoked_at == ended.revoked_at


async def test_a_page_of_keys_begins_behind_the_one_before(there: Home) -> None:
    made = [(await there.keys.create(there.asked(), A_USERS_KEY))[0] for _ in range(5)]
    seen: list[str] = []
    behind = None
    while page := await there.keys.page(LOCAL, "", behind, 2):
        seen += [key.id for key in page]
        behind = (page[-1].created_at, page[-1].id)
    assert seen == [key.id for key in reversed(made)]


async def test_a_key_of_the_local_user_is_nobodys_where_everybody_must_be_somebody(
    there: Home,
) -> None:
    _, key = await there.keys.create(there.asked(), A_USERS_KEY)
    at_home = LookUps(there.directory, lambda: there.now, takes_local=True)
    found = (await at_home(key)).principal
    assert found is not None
    assert found.is_local
    with pytest.raises(UnauthenticatedError):
        await LookUps(there.directory, lambda: there.now)(key)
    _, agents = await there.keys.create(there.asked(), replace(A_USERS_KEY, kind="agent"))
    program = (await at_home(agents)).principal
    assert program is not None
    assert not program.sees_everything


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        (replace(A_USERS_KEY, days=0), "expires_in_days"),
        (replace(A_USERS_KEY, days=3_651), "expires_in_days"),
        (replace(A_USERS_KEY, name="x" * 201), "name"),
        (replace(A_USERS_KEY, name="a\nb"), "name"),
    ],
)
async def test_what_is_asked_for_with_a_key_is_checked(
    there: Home, wish: KeyWish, field: str
) -> None:
    with pytest.raises(InvalidFieldError, match=field):
        await there.keys.create(there.asked(), wish)
    with pytest.raises(InvalidFieldError, match="expires_at"):
        await there.keys.create(there.asked(), replace(A_USERS_KEY, expires_at=there.now))


# The audit ------------------------------------------------------------------------------


async def test_each_change_is_in_the_audit_and_nothing_else_is(there: Home) -> None:
    alice = await there.user("alice")
    await there.user("alice")
    org = await there.groups.create(there.asked(ROOT), "organization", "acme", "")
    for _ in range(2):
        await there.groups.set_member(there.asked(ROOT), "o/acme", "@alice", "member")
    for _ in range(2):
        await there.groups.remove_member(there.asked(ROOT), "o/acme", "@alice")
    made, _ = await there.keys.create(there.asked(alice), A_USERS_KEY)
    for _ in range(2):
        await there.keys.revoke(there.asked(alice), made.id)
    with pytest.raises(ForbiddenError):
        await there.people.shut_out(there.asked(alice), "@alice")
    await there.people.find(LOCAL, "@alice")
    await there.people.shut_out(there.asked(), "@alice")
    await there.groups.delete(there.asked(ROOT), "o/acme", "organization")
    assert await there.audit() == [
        ("local", "user.create", "user", alice.sub),
        ("root", "organization.create", "organization", org.id),
        ("root", "organization.set_member", "organization", org.id),
        ("root", "organization.remove_member", "organization", org.id),
        (alice.sub, "api_key.create", "api_key", made.id),
        (alice.sub, "api_key.revoke", "api_key", made.id),
        ("local", "user.delete", "user", alice.sub),
        ("root", "organization.delete", "organization", org.id),
    ]
