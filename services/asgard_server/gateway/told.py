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
    """The keys of the principals who could read something, and of those who can."""

    before: frozenset[str]
    after: frozenset[str]


_ALL = frozenset((EVERYONE,))
EVERYBODY = Readers(_ALL, _ALL)


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
    readers = _readers(change) if change.guarded else EVERYBODY
    return _told(change.kind == _Run.KIND_DELETE, what, readers)


def told_of_job(change: Any) -> Told:
    """What is told of a job."""
    what = {"object_type": "job", "object_id": str(change.job_id)}
    return _told(change.kind == _Job.KIND_DELETE, what, _readers(change))


def told_of_asset(change: Any) -> Told:
    """What is told of an asset or an experiment."""
    what = {"object_type": change.object_kind, "object_id": change.object_id}
    return _told(change.kind == _Asset.KIND_DELETE, what, _readers(change))


def _told(is_gone: bool, what: dict[str, str], readers: Readers) -> Told:
    data = orjson.dumps({"type": "delete" if is_gone else "update", **what})
    if is_gone or readers.before <= readers.after:
        return Told(data, data if is_gone else b"", readers)
    return Told(data, orjson.dumps({"type": "delete", **what}), readers)


def _readers(change: Any) -> Readers:
    return Readers(_keys(change.readers_before), _keys(change.readers_after))


def _keys(names: Iterable[str]) -> frozenset[str]:
    return _shared(tuple(names))


@lru_cache(4_096)
def _shared(names: tuple[str, ...]) -> frozenset[str]:
    """One set for all changes of things with the same readers."""
    return frozenset(names)
