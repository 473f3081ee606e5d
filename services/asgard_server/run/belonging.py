"""What requests say of whose a run is, and who may say it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TypeAlias

from gimle.asgard.core.access_errors import ForbiddenError
from gimle.asgard.core.documents import RunDocument
from gimle.asgard.v1 import run_service_pb2 as pb

from asgard_server.auth.principal import Principal
from asgard_server.run import codec, domain, naming, rights
from asgard_server.run.naming import Names

Request: TypeAlias = pb.CreateRunRequest | pb.UpdateRunRequest


def is_said(request: Request, by: Principal) -> bool:
    """Whether ExperimentService says whose a run is, or that it goes on.

    Raises `ForbiddenError` where anybody but a service says so.
    """
    if not request.HasField("belongs"):
        return False
    if not by.sees_everything:
        raise ForbiddenError("whose a run is, and that it goes on, is said by services alone")
    return True


async def made_by(request: pb.CreateRunRequest, by: Principal, names: Names) -> dict[str, str]:
    """What the document of a new run says of whose it is, unless a service says it.

    Raises what `rights.made_by` and `naming.named` do.
    """
    if is_said(request, by):
        return {}
    return rights.made_by(by, await naming.named(codec.whose(request), names))


async def asked(request: pb.UpdateRunRequest, names: Names) -> rights.Whose:
    """What a change asks of whose the run is. Raises what `naming.named` does."""
    return await naming.named(codec.whose(request), names)


def told(run: RunDocument, request: pb.UpdateRunRequest, now: datetime) -> RunDocument:
    """The run as a service says that it is."""
    belongs = codec.belongs(request)
    if belongs is not None and belongs.owner:
        run = domain.owned(run, belongs, now)
    return domain.begun(run, now) if request.belongs.running else run


def reads(by: Principal) -> Callable[[RunDocument], bool]:
    """Tells of runs whether a caller may read them."""
    return lambda run: rights.may_read(run, by)


def keys(by: Principal) -> frozenset[str] | None:
    """By which a caller is found among readers; None for one who sees everything."""
    return None if by.sees_everything else by.keys
