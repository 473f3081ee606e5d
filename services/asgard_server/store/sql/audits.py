"""The audit as it is read, in SQL: the port `Audit`."""

from __future__ import annotations

from typing import Any

from gimle.asgard.core.access_errors import ForbiddenError
from gimle.asgard.core.errors import InvalidFieldError, NotFoundError

from asgard_server.asset.access_store import AuditEntry, AuditOf
from asgard_server.auth.principal import Principal
from asgard_server.store.blob_rows import moment
from asgard_server.store.sql import access, audit
from asgard_server.store.sql.scopes import scope_of
from asgard_server.store.sql.session import Database, Session


class SqlAudit:
    """The port `Audit` over a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, wanted: AuditOf, by: Principal, below: int | None, limit: int
    ) -> list[AuditEntry]:
        """Entries, newest first."""

        async def work(session: Session) -> list[AuditEntry]:
            where, values = await _chosen(session, wanted, by)
            return [_entry(each) for each in await audit.page(session, below, limit, where, values)]

        return await self._database.read(work)


async def _chosen(session: Session, wanted: AuditOf, by: Principal) -> tuple[str, tuple[Any, ...]]:
    """A condition on the audit, if the caller may read what it chooses. Raises `NotFoundError`."""
    given = [each for each in (wanted.asset_id, wanted.experiment_id, wanted.organization) if each]
    if len(given) > 1:
        raise InvalidFieldError(
            "organization_id", "is given beside another object", "give one of the three"
        )
    conditions: list[tuple[str, tuple[Any, ...]]] = []
    if wanted.asset_id:
        await _require(session, "asset", wanted.asset_id, by)
        conditions.append(("object_kind = ? AND object_id = ?", ("asset", wanted.asset_id)))
    elif wanted.experiment_id:
        await _require(session, "experiment", wanted.experiment_id, by)
        chosen = ("experiment", wanted.experiment_id)
        conditions.append(("object_kind = ? AND object_id = ?", chosen))
    elif wanted.organization:
        conditions.append(("organization_id = ?", (await _organization(session, wanted, by),)))
    elif not _reads_all(by):
        raise ForbiddenError(
            "administrators of this server read the whole audit;"
            " name an asset, an experiment or an organization that you administer"
        )
    if wanted.principal:
        who = await scope_of(session, wanted.principal)
        conditions.append(("principal = ?", (wanted.principal if who is None else who.id,)))
    values = tuple(value for _, some in conditions for value in some)
    return " AND ".join(condition for condition, _ in conditions), values


async def _require(session: Session, kind: Any, id: str, by: Principal) -> None:
    """Of what is gone nobody is the administrator: only those who read everything read that."""
    if not _reads_all(by):
        await access.require(session, kind, id, by, "administer")


async def _organization(session: Session, wanted: AuditOf, by: Principal) -> str:
    found = await scope_of(session, wanted.organization)
    if found is None or found.kind != "organization":
        raise NotFoundError("organization", wanted.organization)
    role = await session.value(
        "SELECT role FROM memberships WHERE scope_id = ? AND sub = ?", found.id, by.sub
    )
    if role != "admin" and not _reads_all(by):
        raise NotFoundError("organization", wanted.organization)
    return found.id


def _reads_all(by: Principal) -> bool:
    return by.admin or by.sees_everything


def _entry(row: audit.Entry) -> AuditEntry:
    values = row._asdict()
    values["at"] = moment(row.at)
    values["organization_id"] = row.organization_id or ""
    return AuditEntry(**values)
