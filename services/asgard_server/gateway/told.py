"""What is told of a change, and to whom."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple

import orjson
from gimle.asgard.v1 import run_service_pb2 as runs_pb
from gimle.asgard.v1 import watch_assets_pb2 as assets_pb
from gimle.asgard.v1 import watch_jobs_pb2 as jobs_pb

from asgard_server.auth.principal import EVERYONE

_Run = runs_pb.WatchRunsResponse.Change
_Job = jobs_pb.WatchJobsResponse.Change
_Asset = assets_pb.WatchAssetsResponse.Change
_RUNS = {_Run.OBJECT_TYPE_RUN: "run", _Run.OBJECT_TYPE_RESULT: "result"}


class Readers(NamedTuple):
    """Keys of principals: of those who are told of a change, could read the thing, and had it.

    `kept` could read it by the time of the change, `lost` before it (watching.readers.said).
    """

    seen: frozenset[str]
    kept: frozenset[str]
    lost: frozenset[str]


_NOBODY = frozenset[str]()
_ALL = frozenset((EVERYONE,))
EVERYBODY = Readers(_ALL, _ALL, _ALL)


class Told(NamedTuple):
    """What is told of a change: to those who may read the thing, and to those who could before.

    Both are JSON; `gone` is empty where there are none of the latter. Who they are is told to
    nobody.
    """

    data: bytes
    gone: bytes
    readers: Readers


def told_of_run(change: Any) -> Told:
    """What is told of a run or a result."""
    what = {"object_type": _RUNS.get(change.object_type, "run"), "object_id": change.object_id}
    if change.object_type == _Run.OBJECT_TYPE_RESULT:
        what["run_id"] = change.run_id
    is_gone = change.kind == _Run.KIND_DELETE
    return _told(is_gone, what, _readers(change, is_gone) if change.guarded else EVERYBODY)


def told_of_job(change: Any) -> Told:
    """What is told of a job."""
    is_gone = change.kind == _Job.KIND_DELETE
    what = {"object_type": "job", "object_id": str(change.job_id)}
    return _told(is_gone, what, _readers(change, is_gone))


def told_of_asset(change: Any) -> Told:
    """What is told of an asset or an experiment."""
    is_gone = change.kind == _Asset.KIND_DELETE
    what = {"object_type": change.object_kind, "object_id": change.object_id}
    return _told(is_gone, what, _readers(change, is_gone))


def _told(is_gone: bool, what: dict[str, str], readers: Readers) -> Told:
    data = orjson.dumps({"type": "delete" if is_gone else "update", **what})
    if is_gone or readers.lost <= readers.seen:
        return Told(data, data if is_gone else b"", readers)
    return Told(data, orjson.dumps({"type": "delete", **what}), readers)


def _readers(change: Any, is_gone: bool) -> Readers:
    """Who is told of a change that is not for everybody.

    What could still be read by the time of the change and is gone by now is told by a later one.
    """
    before, after = _keys(change.readers_before), _keys(change.readers_after)
    return Readers(_NOBODY if is_gone else after, after, before)


def _keys(names: Iterable[str]) -> frozenset[str]:
    return _shared(tuple(names))


@lru_cache(4_096)
def _shared(names: tuple[str, ...]) -> frozenset[str]:
    """One set for all changes of things with the same readers."""
    return frozenset(names)
