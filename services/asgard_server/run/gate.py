"""Lets callers reach the runs they may read or change, and the results of these.

Whoever sees everything is not looked at: no call of the local user asks the index for leave.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gimle.asgard.core.documents import RunDocument, decode_result, decode_run
from gimle.asgard.core.errors import NotFoundError
from gimle.asgard.core.ids import check_id

from asgard_server.auth.principal import Principal
from asgard_server.run import rights
from asgard_server.run.store import Documents, Key, RunIndex

Rule = Callable[[RunDocument, Principal], RunDocument]


class Gate:
    """Asked before anything is said of a run. All raise `NotFoundError`, and what rules do."""

    def __init__(self, documents: Documents, index: RunIndex) -> None:
        self._documents = documents
        self._index = index

    async def run(self, run_id: str, by: Principal, rule: Rule = rights.require_read) -> None:
        """Let a caller by who may read the run, or what else `rule` says."""
        if by.sees_everything:
            return
        run = await self._run(run_id)
        if run is None:
            raise NotFoundError("run", run_id)
        rule(run, by)

    async def new_run(self, run_id: str, by: Principal) -> None:
        """Let a caller by who may change the run, or make it where it is not there yet."""
        if by.sees_everything:
            return
        run = await self._run(run_id) if run_id else None
        if run is None:
            rights.require_maker(by)
        else:
            rights.require_change(run, by)

    async def result(self, result_id: str, by: Principal, rule: Rule = rights.require_read) -> None:
        """Let a caller by who may do so with the run of a result.

        A result whose run is not there is nobody's to read, until that has come.
        """
        if by.sees_everything:
            return
        run_id = await self._run_of(result_id)
        run = None if run_id is None else await self._run(run_id)
        if run is None or not rights.may_read(run, by):
            raise NotFoundError("result", result_id)
        rule(run, by)

    async def key(self, result_id: str, by: Principal, rule: Rule = rights.require_read) -> Key:
        """The result that is asked for, by a caller who may. Raises what `result` does, and
        `InvalidFieldError`.
        """
        key = Key("result", check_id(result_id, "result_id"))
        await self.result(key.id, by, rule)
        return key

    async def _run(self, run_id: str) -> RunDocument | None:
        row = await self._index.run(run_id)
        if row is not None:
            return row.run
        found = await self._documents.read(Key("run", run_id))
        if found is None:
            return None
        return await asyncio.to_thread(decode_run, found.body, run_id, found.modified_at)

    async def _run_of(self, result_id: str) -> str | None:
        row = await self._index.result(result_id)
        if row is not None:
            return row.run_id
        found = await self._documents.read(Key("result", result_id))
        if found is None:
            return None
        return (
            await asyncio.to_thread(decode_result, found.body, result_id, found.modified_at)
        ).run_id
