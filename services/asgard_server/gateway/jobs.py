"""The documented endpoints of SimSwarm, /api/jobs: the RPCs of SimDataService in its words.

What differs from /v1: statuses (201, 204, and 422 where a request breaks a rule), and the pages of
the list.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import grpc
import orjson
from gimle.asgard.v1 import job_pb2
from gimle.asgard.v1 import sim_data_service_pb2 as pb
from starlette.responses import Response
from starlette.types import ASGIApp

from asgard_server.gateway.answers import Answer, serve
from asgard_server.gateway.decode import Decoders
from asgard_server.gateway.encode import Encoders
from asgard_server.gateway.problems import Problem, from_grpc, invalid
from asgard_server.gateway.request import Request
from asgard_server.gateway.routing import Handler
from asgard_server.gateway.schema import Binding, Rpc
from asgard_server.gateway.transcode import Answers, Asks

SERVICE = "gimle.asgard.v1.SimDataService"
MAX_BODY_BYTES = 8 << 20
PER_PAGE, MOST_PER_PAGE, FURTHEST_PAGE = 10, 100, 1_000_000


@dataclass(frozen=True, slots=True)
class Row:
    """A documented endpoint: the RPC that answers it, where, and with which status."""

    rpc: str
    binding: Binding
    status: int = 200


def _row(
    rpc: str, verb: str, path: str, shows: str = "", *, body: str = "", status: int = 200
) -> Row:
    return Row(rpc, Binding(verb, path, body, shows), status)


ROWS = (
    _row("CreateJob", "POST", "/api/jobs", "job", body="*", status=201),
    _row("CreateDraft", "POST", "/api/jobs/draft", "job", body="*", status=201),
    _row("UpdateDraft", "PATCH", "/api/jobs/draft/{job_id}", "job", body="*"),
    _row("LaunchDraft", "POST", "/api/jobs/draft/{job_id}/launch", "job"),
    _row("GetJob", "GET", "/api/jobs/{job_id}", "job"),
    _row("DeleteJob", "DELETE", "/api/jobs/{job_id}", status=204),
    _row("GetSimData", "GET", "/api/jobs/{job_id}/sim-data"),
    _row("RetryJob", "POST", "/api/jobs/{job_id}/retry", "job", status=201),
    _row("ResumeJob", "POST", "/api/jobs/{job_id}/resume"),
    _row("CreateShareLink", "POST", "/api/jobs/{job_id}/share"),
    _row("DeleteShareLink", "DELETE", "/api/jobs/{job_id}/share", status=204),
    _row("GetReport", "GET", "/api/jobs/{job_id}/report", "body"),
    _row("GetSharedJob", "GET", "/s/{share_token}", "job"),
)
LIST = "/api/jobs"


class JobEndpoints:
    """Handlers of the documented endpoints."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        rpcs: tuple[Rpc, ...],
        encoders: Encoders,
        decoders: Decoders,
    ) -> None:
        self._channel = channel
        self._rpcs = rpcs_of(rpcs)
        self._encoders = encoders
        self._decoders = decoders
        self._summary = encoders.of(job_pb2.JobSummary.DESCRIPTOR)

    def routes(self) -> Iterator[tuple[str, str, Handler]]:
        """Yield verb, template and handler of each."""
        for row in ROWS:
            yield row.binding.verb, row.binding.template, self._handler(row)
        yield "GET", LIST, self._list()

    def for_everybody(self) -> Iterator[str]:
        """Templates of those that nobody is asked at who they are."""
        for row in ROWS:
            if self._rpcs[row.rpc].for_everybody:
                yield row.binding.template

    def _handler(self, row: Row) -> Handler:
        rpc = self._rpcs[row.rpc]
        asks = Asks(rpc, row.binding, self._decoders)
        answers = Answers(rpc, row.binding, self._encoders)
        call: Any = self._channel.unary_unary(rpc.path)

        async def handle(request: Request) -> ASGIApp:
            try:
                body = await request.json_body(MAX_BODY_BYTES) if row.binding.body else b""
                sent = asks.message(dict(request.variables), request.parameters(), body)
                reply = await _called(call, sent, request)
            except Problem as problem:
                raise _in_their_words(problem) from problem
            if row.status == 204:
                return Response(status_code=204)
            answer = answers.answer(reply)
            answer.status = row.status
            return await serve(request, answer)

        return handle

    def _list(self) -> Handler:
        call: Any = self._channel.unary_unary(self._rpcs["ListJobs"].path)

        async def handle(request: Request) -> ASGIApp:
            try:
                given = request.only("page", "per_page")
                page = _number(given, "page", 1, FURTHEST_PAGE)
                per_page = _number(given, "per_page", PER_PAGE, MOST_PER_PAGE)
                asked = pb.ListJobsRequest(page=page, page_size=per_page)
                found = pb.ListJobsResponse.FromString(await _called(call, asked, request))
            except Problem as problem:
                raise _in_their_words(problem) from problem
            shown = {
                "jobs": [self._summary(job) for job in found.jobs],
                "total": found.total,
                "page": page,
                "per_page": per_page,
            }
            return await serve(request, Answer(orjson.dumps(shown)))

        return handle


def rpcs_of(rpcs: tuple[Rpc, ...]) -> dict[str, Rpc]:
    """The RPCs of SimDataService by name."""
    return {rpc.name: rpc for rpc in rpcs if rpc.service == SERVICE}


async def _called(call: Any, message: Any, request: Request) -> bytes:
    try:
        reply: bytes = await call(
            message.SerializeToString(), timeout=request.seconds_left, metadata=request.metadata
        )
    except grpc.aio.AioRpcError as error:
        raise from_grpc(error) from error
    return reply


def _in_their_words(problem: Problem) -> Problem:
    """422 for a request that breaks a rule: an id that is no integer, a body that is not right."""
    if problem.status == 400 and problem.reason in ("INVALID_FIELD", "MALFORMED_BODY"):
        return replace(problem, status=422)
    return problem


def in_their_words(handler: Handler) -> Handler:
    """The handler, whose 401 says what SimSwarm's says."""

    async def handle(request: Request) -> ASGIApp:
        try:
            return await handler(request)
        except Problem as problem:
            if problem.status != 401:
                raise
            shown = request.authorization
            detail = "Invalid or expired token" if shown else "Not authenticated"
            raise replace(problem, detail=detail) from problem

    return handle


def _number(given: dict[str, str], name: str, usual: int, most: int) -> int:
    text = given.get(name, "")
    if name not in given:
        return usual
    if not text.isascii() or not text.isdecimal() or len(text) > 9 or not 1 <= int(text) <= most:
        raise invalid(name, f"must be an integer from 1 to {most:,}")
    return int(text)
