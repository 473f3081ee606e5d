"""Runs and results as messages: from the index's rows, and from documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

import orjson
from gimle.asgard.core import exact
from gimle.asgard.core.documents import (
    ResultDocument,
    RunDocument,
    decode_result,
    decode_run,
    etag,
)
from gimle.asgard.core.errors import DocumentError
from gimle.asgard.v1 import run_service_pb2 as pb

from asgard_server.rpc.fields import timestamp
from asgard_server.run import domain
from asgard_server.run.codec.fields import status_number
from asgard_server.run.splice import members
from asgard_server.run.store import Found, Key, ResultRow, RunRow

# Above this a document is cut into its members instead of parsed: parsing holds the
# interpreter for as long as it takes, in whatever thread.
_SPLICE_BYTES = 1_048_576

# How much of an array travels in one answer of ReadResult.
_PIECE_BYTES = 1_048_576


def run_message(row: RunRow, now: datetime, result_ids: Sequence[str] = ()) -> pb.Run:
    """A run as the index knows it."""
    run = row.run
    return pb.Run(
        run_id=run.id,
        name=run.name,
        create_time=timestamp(run.created_at),
        update_time=timestamp(run.updated_at),
        equation=run.equation,
        circuit=run.circuit,
        metadata=exact.dumps(run.metadata) if run.metadata else b"{}",
        result_ids=result_ids,
        tags=run.tags,
        note=run.note,
        status=status_number(run.status),
        finish_time=timestamp(run.finished_at),
        result_count=row.result_count,
        etag=row.etag,
        live=domain.is_live(run.status, row.changed_at, now),
        owner=_word(run.extra.get("owner")),
        organization_id=_word(run.extra.get("organization_id")),
        visibility=_word(run.extra.get("visibility")),
    )


def _word(value: object) -> str | None:
    """A text of a document; what others wrote there may be anything."""
    return value if isinstance(value, str) else None


def result_message(row: ResultRow) -> pb.Result:
    """A result as the index knows it: without its data."""
    return pb.Result(
        result_id=row.id,
        run_id=row.run_id,
        create_time=timestamp(row.created_at),
        result_type=row.result_type,
        display=exact.dumps(row.display) if row.display else b"{}",
        etag=row.etag,
    )


def result_messages(rows: Mapping[Key, RunRow | ResultRow], ids: Sequence[str]) -> list[pb.Result]:
    """Results as the index knows them, in the order of `ids`."""
    found = (rows.get(Key("result", each)) for each in ids)
    return [result_message(row) for row in found if isinstance(row, ResultRow)]


def stored_result(result_id: str, found: Found) -> pb.Result:
    """A result's document with its data as it is stored, spliced in rather than understood."""
    parts = _members(result_id, found.body)
    # What is not the data is small, and read as every reader of documents reads it.
    head = (
        b"{"
        + b",".join(
            orjson.dumps(key) + b":" + value for key, value in parts.items() if key != "data"
        )
        + b"}"
    )
    result = decode_result(head, result_id, found.modified_at)
    return pb.Result(
        result_id=result_id,
        run_id=result.run_id,
        create_time=timestamp(result.created_at),
        result_type=result.result_type,
        data=parts.get("data", b"{}"),
        display=parts.get("display", b"{}"),
        etag=etag(found.body),
    )


def parts(result: ResultDocument) -> Iterator[bytes]:
    """A result and then its arrays, as the serialised answers of ReadResult."""
    from gimle.asgard.core.enclosing import apart, pieces

    data, arrays = apart(result.data)
    message = pb.Result(
        result_id=result.id,
        run_id=result.run_id,
        create_time=timestamp(result.created_at),
        result_type=result.result_type,
        data=data,
        display=exact.dumps(result.display),
    )
    yield pb.ReadResultResponse(result=message).SerializeToString()
    for key, array in arrays.items():
        for content in pieces(array, _PIECE_BYTES):
            piece = pb.ReadResultResponse.Piece(key=key, content=content)
            yield pb.ReadResultResponse(piece=piece).SerializeToString()


def _members(result_id: str, body: bytes) -> Mapping[str, bytes]:
    try:
        if len(body) > _SPLICE_BYTES:
            return members(body)
        whole = orjson.loads(body).items()
        if exact.holds_long_integers(body):
            return members(body)
        return {key: orjson.dumps(value) for key, value in whole}
    except (ValueError, AttributeError) as error:
        raise DocumentError(result_id, f"is not a JSON object: {error}") from None


def decoded_run(found: Found, run_id: str) -> tuple[RunDocument, str]:
    """A run's document and its etag."""
    return decode_run(found.body, run_id, found.modified_at), etag(found.body)
