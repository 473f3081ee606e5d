"""Who may do what with an asset, as it is changed and explained, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from asgard_server.access.domain import ALL, Visibility
from asgard_server.asset.access_store import AuditOf, Move
from asgard_server.auth.principal import LOCAL, Principal
from asgard_server.store.sql import access, asset_log, links
from asgard_server.store.sql.audits import SqlAudit
from asgard_server.store.sql.session import Database, Session
from asgard_server.store.sql.sharing import SqlSharing
from gimle.asgard.core.access_errors import (
    ForbiddenError,
    LastAdministratorError,
    NotAMemberError,
)
from gimle.asgard.core.asset_errors import AssetStateError
from gimle.asgard.core.errors import InvalidFieldError, NotFoundError

from tests.contract.asset_rows import BEN, CLEO, NOON, an_asset, an_experiment, people
from tests.contract.sql_homes import ENGINES, database

NOW = datetime(2026, 11, 29, 13, tzinfo=UTC)
STRANGER = Principal("dan")


@pytest.fixture(params=ENGINES)
async def sessions(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    async with database(request.param, tmp_path) as opened:
        await opened.write(people)
        yield opened


@pytest.fixture
async def sharing(sessions: Database) -> SqlSharing:
    await sessions.write(lambda session: an_asset(session, "a", by="cleo"))
    return SqlSharing(sessions)


async def made(sessions: Database, id: str) -> None:
    await sessions.write(lambda session: an_asset(session, id, by="cleo"))


async def changes(sessions: Database) -> list[asset_log.Change]:
    return [each for _, each in await sessions.look(lambda s: asset_log.behind(s, 0, 100))]


async def readers(sessions: Database, id: str = "a") -> tuple[str, ...]:
    return await sessions.look(lambda session: access.readers(session, "asset", id))


@pytest.mark.parametrize(
    ("named", "stands_for", "handle"),
    [
        ("ben", "ben", "@ben"),
        ("@ben", "ben", "@ben"),
        ("o/acme", "org_acme", "o/acme"),
        ("org_acme", "org_acme", "o/acme"),
        ("t/ml-team", "team_ml", "t/ml-team"),
        ("everyone", "everyone", "everyone"),
        ("@local", "local", ""),
    ],
)
async def test_a_grant_is_of_whom_an_id_or_a_handle_stands_for_and_new_once(
    sessions: Database, sharing: SqlSharing, named: str, stands_for: str, handle: str
) -> None:
    done = await sharing.grant("a", named, "write", CLEO, NOW)
    assert (done.grant.principal, done.grant.action, done.added) == (stands_for, "write", True)
    assert done.grant.handle == handle
    assert await readers(sessions) == tuple(sorted(("cleo", stands_for)))
    again = await sharing.grant("a", named, "write", CLEO, NOW + timedelta(hours=1))
    assert not again.added
    assert again.grant == done.grant
    assert len(await changes(sessions)) == 1
    assert await sharing.revoke("a", named, "write", CLEO, NOW)
    assert not await sharing.revoke("a", named, "write", CLEO, NOW)
    assert [tuple(each.after) for each in await changes(sessions)] == [
        tuple(sorted(("cleo", stands_for))),
        ("cleo",),
    ]


async def test_nobody_is_granted_anything_who_is_not_there(sharing: SqlSharing) -> None:
    for named in ("@nobody", "o/nothing", "t/nothing", "org_nothing", "x", "@ben "):
        with pytest.raises(NotFoundError) as raised:
            await sharing.grant("a", named, "read", CLEO, NOW)
        assert (raised.value.kind, raised.value.id) == ("principal", named)


async def test_who_does_not_administer_it_is_told_that_it_is_not_there(
    sharing: SqlSharing,
) -> None:
    await sharing.grant("a", "ben", "write", CLEO, NOW)
    for by in (STRANGER, BEN):
        for call in (
            sharing.grant("a", "ben", "read", by, NOW),
            sharing.share("a", "o/acme", "read", by, NOW),
            sharing.revoke("a", "ben", "read", by, NOW),
            sharing.grants("a", by),
            sharing.explain("a", "cleo", by),
            sharing.set_visibility("a", "public", by, NOW),
            sharing.move("a", Move("o/acme", "", "org_public"), by, NOW),
        ):
            with pytest.raises(NotFoundError) as raised:
                await call
            assert (raised.value.kind, raised.value.id) == ("asset", "a")


async def test_the_last_administrator_stays(sessions: Database, sharing: SqlSharing) -> None:
    with pytest.raises(LastAdministratorError):
        await sharing.revoke("a", "cleo", "administer", CLEO, NOW)
    await sharing.grant("a", "t/ml-team", "administer", CLEO, NOW)
    assert await sharing.revoke("a", "cleo", "administer", CLEO, NOW)
    assert await readers(sessions) == ("team_ml",)


async def test_of_two_administrators_who_remove_each_other_one_stays(
    sessions: Database, sharing: SqlSharing
) -> None:
    await sharing.grant("a", "ben", "administer", CLEO, NOW)
    ended = await asyncio.gather(
        sharing.revoke("a", "cleo", "administer", BEN, NOW),
        sharing.revoke("a", "ben", "administer", CLEO, NOW),
        return_exceptions=True,
    )
    assert sum(each is True for each in ended) == 1
    assert next(type(each) for each in ended if each is not True) in (
        LastAdministratorError,
        NotFoundError,
    )
    assert len(await readers(sessions)) == 1


async def test_only_members_share_with_a_scope(sessions: Database, sharing: SqlSharing) -> None:
    await sharing.grant("a", "dan", "administer", CLEO, NOW)
    with pytest.raises(NotAMemberError, match="caller is not a member of t/ml-team"):
        await sharing.share("a", "t/ml-team", "read", STRANGER, NOW)
    with pytest.raises(NotFoundError):
        await sharing.share("a", "@ben", "read", CLEO, NOW)
    assert (await sharing.share("a", "t/ml-team", "read", CLEO, NOW)).added
    assert not (await sharing.share("a", "team_ml", "read", LOCAL, NOW)).added
    assert await readers(sessions) == ("cleo", "dan", "team_ml")


async def test_visibility_swaps_the_broadcast_and_leaves_what_was_granted(
    sessions: Database, sharing: SqlSharing
) -> None:
    await sharing.grant("a", "ben", "read", CLEO, NOW)
    with pytest.raises(InvalidFieldError, match="no organization or team owns it"):
        await sharing.set_visibility("a", "org_public", CLEO, NOW)
    seen: list[tuple[Visibility, tuple[str, ...]]] = []
    wishes: list[Visibility] = ["public", "public", "private"]
    for wanted in wishes:
        asset = await sharing.set_visibility("a", wanted, CLEO, NOW)
        seen.append((asset.visibility, await readers(sessions)))
    assert seen == [
        ("public", ("ben", "cleo", "everyone")),
        ("public", ("ben", "cleo", "everyone")),
        ("private", ("ben", "cleo")),
    ]
    assert len(await changes(sessions)) == 3  # the repeat is none


async def test_moving_gives_it_to_an_organization_and_keeps_who_made_it(
    sessions: Database, sharing: SqlSharing
) -> None:
    await sharing.set_visibility("a", "public", CLEO, NOW)
    moved = await sharing.move("a", Move("o/acme", "", "org_public"), CLEO, NOW)
    assert (moved.organization_id, moved.team_id, moved.created_by) == ("org_acme", None, "cleo")
    assert moved.visibility == "org_public"
    assert await readers(sessions) == ("cleo", "org_acme")
    told = len(await changes(sessions))
    again = await sharing.move("a", Move("org_acme", "", "org_public"), CLEO, NOW)
    assert (again.organization_id, len(await changes(sessions))) == ("org_acme", told)
    to_team = await sharing.move("a", Move("o/acme", "t/ml-team", "org_public"), CLEO, NOW)
    assert (to_team.team_id, await readers(sessions)) == ("team_ml", ("cleo", "team_ml"))


async def test_moving_needs_membership_and_leads_out_of_no_organization(
    sharing: SqlSharing,
) -> None:
    await sharing.grant("a", "dan", "administer", CLEO, NOW)
    with pytest.raises(NotAMemberError, match="caller is not a member of o/acme"):
        await sharing.move("a", Move("o/acme", "", "org_public"), STRANGER, NOW)
    with pytest.raises(NotFoundError) as raised:
        await sharing.move("a", Move("t/ml-team", "", "org_public"), CLEO, NOW)
    assert raised.value.kind == "organization"
    with pytest.raises(NotFoundError) as raised:
        await sharing.move("a", Move("o/acme", "t/other", "org_public"), CLEO, NOW)
    assert raised.value.kind == "team"
    await sharing.move("a", Move("o/acme", "", "org_public"), CLEO, NOW)
    with pytest.raises(AssetStateError, match="owned by org_acme"):
        await sharing.move("a", Move("o/other", "", "org_public"), LOCAL, NOW)


async def test_a_named_asset_becomes_the_next_version_of_where_it_goes(
    sessions: Database, sharing: SqlSharing
) -> None:
    async def named(session: Session) -> None:
        for id, scope, version in (("mine", "cleo", 1), ("theirs", "org_acme", 4)):
            series = f"{id}-series"
            await session.run(
                "INSERT INTO asset_series (id, scope_id, name, versions) VALUES (?, ?, 'm', ?)",
                *(series, scope, version),
            )
            owner = "org_acme" if id == "theirs" else None
            await an_asset(session, id, by="cleo", name="m", organization_id=owner)
            await session.run(
                "UPDATE assets SET series_id = ?, version = ? WHERE id = ?", series, version, id
            )
            for alias in ("latest", "best"):
                await session.run(
                    "INSERT INTO asset_aliases VALUES (?, ?, ?)", *(series, alias, id)
                )

    async def aliases(session: Session) -> set[tuple[str, ...]]:
        return set(await session.all("SELECT series_id, alias, asset_id FROM asset_aliases"))

    await sessions.write(named)
    moved = await sharing.move("mine", Move("o/acme", "", "org_public"), CLEO, NOW)
    assert (moved.version, moved.aliases) == (5, ("latest",))
    assert await sessions.look(aliases) == {
        ("theirs-series", "latest", "mine"),
        ("theirs-series", "best", "theirs"),
    }
    assert {each.id for each in await changes(sessions)} == {"mine", "theirs"}


async def test_each_way_to_what_somebody_may_do_is_told_in_words(
    sessions: Database, sharing: SqlSharing
) -> None:
    async def linked(session: Session) -> None:
        await an_experiment(session, "e", by="cleo", readers=["org_acme"])
        wish = links.Link("a", "output", "e", linked_by="cleo", linked_at=NOON)
        await links.link(session, wish, CLEO)

    await sessions.write(linked)
    await sharing.grant("a", "t/ml-team", "write", CLEO, NOW)
    await sharing.set_visibility("a", "public", CLEO, NOW)
    found = await sharing.explain("a", "@eve", CLEO)
    assert found.allowed == {"read", "write"}
    assert [(way.action, way.through, way.source) for way in found.ways] == [
        ("read", "everyone", "visibility"),
        ("read", "org_acme", "experiment:e"),
        ("write", "team_ml", "own"),
    ]
    assert [way.sentence for way in found.ways] == [
        "@eve is one of everyone, who may read it by its visibility, which @cleo set on 2026-11-29",
        "@eve is in o/acme, which may read it as the experiment e, which it is linked to",
        "@eve is in t/ml-team, which was granted write by @cleo on 2026-11-29",
    ]
    own = await sharing.explain("a", "", CLEO)
    assert own.allowed == ALL
    assert "@cleo was granted administer by @cleo on 2026-11-29" in {w.sentence for w in own.ways}
    await sharing.set_visibility("a", "private", CLEO, NOW)
    assert (await sharing.explain("a", "dan", CLEO)).ways == ()
    with pytest.raises(NotFoundError):
        await sharing.explain("a", "", STRANGER)
    assert (await sharing.explain("a", "", LOCAL)).allowed == ALL


async def test_a_grant_and_a_move_at_once_are_one_after_the_other(
    sessions: Database, sharing: SqlSharing
) -> None:
    """Whichever comes first, the readers are those of the grants, and the log joins up."""
    for turn in range(12):
        id = f"race{turn}"
        await made(sessions, id)
        before = len(await changes(sessions))
        await asyncio.gather(
            sharing.grant(id, "@ben", "read", CLEO, NOW),
            sharing.move(id, Move("o/acme", "", "org_public"), CLEO, NOW),
            sharing.set_visibility(id, "public", CLEO, NOW),
            sharing.grant(id, "t/ml-team", "write", CLEO, NOW),
        )
        granted = {each.principal for each in await sharing.grants(id, CLEO)}
        assert set(await readers(sessions, id)) == granted
        assert {"ben", "cleo", "team_ml"} < granted
        said = [each for each in (await changes(sessions))[before:] if each.id == id]
        assert [list(each.before) for each in said] == [
            ["cleo"],
            *(list(e.after) for e in said[:-1]),
        ]
        assert set(said[-1].after) == granted
        # Of the broadcasts of the move and of the visibility the later one is there alone.
        assert len(granted & {"org_acme", "everyone"}) == 1


async def test_an_audit_says_who_changed_what_and_to_whom_it_is_shown(
    sessions: Database, sharing: SqlSharing
) -> None:
    audit = SqlAudit(sessions)
    await sharing.grant("a", "ben", "write", CLEO, NOW)
    await sharing.revoke("a", "ben", "write", CLEO, NOW)
    await sharing.set_visibility("a", "public", CLEO, NOW)
    await sharing.move("a", Move("o/acme", "", "private"), CLEO, NOW)
    of_it = await audit.page(AuditOf(asset_id="a"), CLEO, None, 10)
    assert [each.action for each in of_it] == [
        "asset.move",
        "asset.visibility",
        "asset.revoke",
        "asset.grant",
    ]
    assert of_it[-1].details_json == '{"principal":"ben","action":"write"}'
    assert (of_it[0].organization_id, of_it[0].principal) == ("org_acme", "cleo")
    root = Principal("root", admin=True)
    assert await audit.page(AuditOf(), root, None, 10) == of_it
    assert await audit.page(AuditOf(principal="@cleo"), LOCAL, of_it[1].number, 1) == of_it[2:3]
    assert await audit.page(AuditOf(organization="o/acme"), BEN, None, 10) == of_it[:1]
    for wanted, by in (
        (AuditOf(asset_id="a"), BEN),
        (AuditOf(asset_id="a"), STRANGER),
        (AuditOf(organization="o/acme"), CLEO),
        (AuditOf(organization="o/none"), root),
        (AuditOf(experiment_id="e"), CLEO),
    ):
        with pytest.raises(NotFoundError):
            await audit.page(wanted, by, None, 10)
    with pytest.raises(ForbiddenError):
        await audit.page(AuditOf(), CLEO, None, 10)
    with pytest.raises(InvalidFieldError):
        await audit.page(AuditOf(asset_id="a", organization="o/acme"), root, None, 10)
