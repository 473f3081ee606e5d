"""People, assets and experiments for tests of what SQL keeps of them, put straight into tables."""

from __future__ import annotations

from collections.abc import Iterable

from asgard_server.access.domain import OWN, Kind
from asgard_server.auth.principal import Principal
from asgard_server.store.sql import access
from asgard_server.store.sql.session import Session

ADA = Principal("ada")
BEN = Principal("ben", organizations=frozenset(("org_acme",)))
CLEO = Principal("cleo", teams=frozenset(("team_ml",)), organizations=frozenset(("org_acme",)))
SERVICE = Principal("asset", kind="service")
NOON = 1_795_953_600_000_000
"""Microseconds of 2026-11-29 12:00 UTC."""


async def people(session: Session) -> None:
    """Add ada, ben, cleo, dan and eve; acme, which ben administers, and its team, with cleo."""
    for sub in ("ada", "ben", "cleo", "dan", "eve"):
        await session.run(
            "INSERT INTO users (sub, handle, name, created_at, created_by) VALUES (?, ?, ?, 0, '')",
            *(sub, sub, sub),
        )
    for id, slug in (("org_acme", "acme"), ("org_other", "other")):
        await session.run(
            "INSERT INTO organizations (id, slug, name, created_at, created_by)"
            " VALUES (?, ?, ?, 0, '')",
            *(id, slug, slug),
        )
    for id, slug, within in (("team_ml", "ml-team", "org_acme"), ("team_x", "other", "org_other")):
        await session.run(
            "INSERT INTO teams (id, organization_id, slug, name, created_at, created_by)"
            " VALUES (?, ?, ?, ?, 0, '')",
            *(id, within, slug, slug),
        )
    for scope, sub, role in (
        ("org_acme", "ben", "admin"),
        ("org_acme", "cleo", "member"),
        ("org_acme", "eve", "member"),
        ("team_ml", "cleo", "member"),
        ("team_ml", "eve", "member"),
    ):
        await session.run(
            "INSERT INTO memberships (scope_id, sub, role, source, created_at)"
            " VALUES (?, ?, ?, 'asgard', 0)",
            *(scope, sub, role),
        )


async def an_asset(
    session: Session,
    id: str,
    *,
    by: str = "ada",
    state: str = "ready",
    at: int = NOON,
    name: str | None = None,
    asset_type: str = "dataset",
    organization_id: str | None = None,
    experiment_id: str | None = None,
    readers: Iterable[str] = (),
) -> str:
    """Add an asset whose maker administers it, and that others read; answer its id."""
    await session.run(
        "INSERT INTO assets (id, asset_type, name, state, kind, content_type, created_at,"
        " updated_at, created_by, organization_id, experiment_id, visibility, request_digest)"
        " VALUES (?, ?, ?, ?, 'inline', 'application/json', ?, ?, ?, ?, ?, 'private', '')",
        *(id, asset_type, name, state, at, at, by, organization_id, experiment_id),
    )
    await _granted(session, "asset", id, by, at, readers)
    return id


async def an_experiment(
    session: Session, id: str, *, by: str = "ada", at: int = NOON, readers: Iterable[str] = ()
) -> str:
    """Add an open experiment whose maker administers it, and that others read; answer its id."""
    await session.run(
        "INSERT INTO experiments (id, state, title, hypothesis_summary, rationale, description,"
        " config_yaml, created_at, updated_at, created_by, visibility, request_digest)"
        " VALUES (?, 'open', ?, '', '', '', '', ?, ?, ?, 'private', '')",
        *(id, f"title of {id}", at, at, by),
    )
    await _granted(session, "experiment", id, by, at, readers)
    return id


async def _granted(
    session: Session, kind: Kind, id: str, by: str, at: int, readers: Iterable[str]
) -> None:
    await access.grant(session, kind, id, by, "administer", OWN, by, at)
    for each in readers:
        await access.grant(session, kind, id, each, "read", OWN, by, at)
    await access.regrant(session, kind, id, at)
