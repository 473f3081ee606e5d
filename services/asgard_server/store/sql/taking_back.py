"""What the assets of an experiment lose with a grant of it, of all of them in a few statements.

Grants, readers and the entries of the log are made of each other by the database: of a hundred
thousand assets their rows would take longer to come here and go back than to be changed.
"""

from __future__ import annotations

import json

from asgard_server.access.domain import from_experiment, inherited
from asgard_server.store.sql import access, asset_log
from asgard_server.store.sql.among import among
from asgard_server.store.sql.session import Session

# No two of these tables are joined to one another: nobody tells the planner how large they are.
_POSTGRES = """
WITH gone AS (DELETE FROM grants AS g WHERE {unwanted} RETURNING g.object_id, g.principal),
hit AS (SELECT object_id, array_agg(principal) AS principals FROM gone GROUP BY object_id),
seen AS MATERIALIZED (
  SELECT r.ctid AS at, r.object_id, r.principal,
         CASE WHEN r.principal = ANY(hit.principals) THEN NOT EXISTS (
           SELECT 1 FROM grants AS g WHERE g.object_kind = 'asset' AND g.object_id = r.object_id
              AND g.principal = r.principal AND NOT ({unwanted})) ELSE false END AS is_lost
    FROM hit JOIN readers AS r ON r.object_kind = 'asset' AND r.object_id = hit.object_id
),
lost AS (DELETE FROM readers AS r USING seen WHERE seen.is_lost AND r.ctid = seen.at),
entry AS (
  SELECT object_id, json_agg(principal ORDER BY principal)::text AS before,
         coalesce(json_agg(principal ORDER BY principal) FILTER (WHERE NOT is_lost), '[]')::text
         AS after
    FROM seen GROUP BY object_id
),
moved AS (
  UPDATE asset_log_head SET revision = revision + (SELECT count(*) FROM entry) RETURNING revision
)
INSERT INTO asset_log
SELECT moved.revision - (SELECT count(*) FROM entry) + row_number() OVER (ORDER BY object_id),
       'asset', object_id, before, after
  FROM moved, entry
"""
_READS_ON = (
    "EXISTS (SELECT 1 FROM grants AS g WHERE g.object_kind = 'asset'"
    " AND g.object_id = r.object_id AND g.principal = r.principal)"
)
_SQLITE_LOG = f"""
INSERT INTO asset_log
SELECT (SELECT revision FROM asset_log_head) + row_number() OVER (ORDER BY object_id), 'asset',
       object_id, before, after
  FROM (SELECT object_id, json_group_array(principal) AS before,
               json_group_array(principal) FILTER (WHERE stays) AS after
          FROM (SELECT r.object_id, r.principal,
                       r.principal NOT IN (SELECT value FROM json_each(?)) OR {_READS_ON} AS stays
                  FROM readers AS r WHERE r.object_kind = 'asset'
                   AND r.object_id IN (SELECT value FROM json_each(?))
                 ORDER BY r.object_id, r.principal)
         GROUP BY object_id)
"""  # noqa: S608 - ours
_SQLITE_READERS = (
    "DELETE FROM readers AS r WHERE r.object_kind = 'asset'"  # noqa: S608 - ours
    " AND r.object_id IN (SELECT value FROM json_each(?))"
    f" AND r.principal IN (SELECT value FROM json_each(?)) AND NOT {_READS_ON}"
)


async def take_back(session: Session, experiment_id: str) -> None:
    """Let no asset of an experiment, which is held, have what it does not grant any more, and
    write down of each who could and who can read it.
    """
    unwanted, values = await unwanted_of(session, experiment_id)
    if session.engine == "sqlite":
        await _in_sqlite(session, unwanted, values)
        return
    # Nobody else makes their readers of their grants until this has ended.
    held = await session.value(
        "SELECT count(*) FROM (SELECT 1 FROM assets WHERE id IN (SELECT g.object_id"  # noqa: S608 - ours
        f" FROM grants AS g WHERE {unwanted}) ORDER BY id{session.for_update}) AS held",
        *values,
    )
    if held:
        await session.run(_POSTGRES.format(unwanted=unwanted), *values, *values)


async def unwanted_of(session: Session, experiment_id: str) -> tuple[str, list[object]]:
    """The condition that assets have a grant, called `g`, of the experiment, and that it does not
    give it any more: neither to its outputs, nor to the inputs that its readers read.
    """
    held = [
        (each.principal, each.action)
        for each in await access.grants(session, "experiment", experiment_id)
    ]
    outputs, inputs = (
        among(
            session, "g.principal || ' ' || g.action", sorted(f"{who} {what}" for who, what in of)
        )
        for of in (
            inherited(held, as_output=True, as_input=False),
            inherited(held, as_output=False, as_input=True),
        )
    )
    condition = (
        f"g.object_kind = 'asset' AND g.source = ? AND NOT ({outputs[0]}) AND NOT ({inputs[0]}"  # noqa: S608 - ours
        " AND EXISTS (SELECT 1 FROM asset_links AS l WHERE l.asset_id = g.object_id"
        " AND l.experiment_id = ? AND l.propagate_acl = 1))"
    )
    return condition, [from_experiment(experiment_id), outputs[1], inputs[1], experiment_id]


async def _in_sqlite(session: Session, unwanted: str, values: list[object]) -> None:
    rows = await session.all(
        f"DELETE FROM grants AS g WHERE {unwanted} RETURNING object_id, principal",  # noqa: S608 - ours
        *values,
    )
    if not rows:
        return
    ids = json.dumps(list(dict.fromkeys(row[0] for row in rows)))
    principals = json.dumps(list({row[1] for row in rows}))
    count = await session.run(_SQLITE_LOG, principals, ids)
    await session.run(_SQLITE_READERS, ids, principals)
    await asset_log.move_head(session, count)
