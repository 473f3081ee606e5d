"""Arrays that clients put into the store: intent, bytes, document, and what is swept."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asgard_server.blob.parts import part_size
from asgard_server.run import intents
from asgard_server.run.arriving import Sent
from asgard_server.run.granting import Array, NewUpload
from asgard_server.run.grants import Upload
from asgard_server.run.store import Key
from gimle.asgard.core.documents import ResultDocument, RunDocument
from gimle.asgard.core.errors import (
    AlreadyExistsError,
    DigestMismatchError,
    InvalidFieldError,
    LengthMismatchError,
    NotFoundError,
    UploadEndedError,
    UploadIncompleteError,
)
from gimle.asgard.core.folder.npy import header

from tests.cluster.processes import eventually
from tests.contract.granted_homes import HOMES, Home, home

NOW = datetime(2026, 11, 21, tzinfo=UTC)
LARGE = 9_000_000  # of float64: more than 64 MiB, so it goes in parts


@pytest.fixture(params=HOMES)
async def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Home]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    async with home(request.param, tmp_path / "home") as opened:
        await opened.engines.documents.create_run(RunDocument("run", "r", NOW, NOW), ())
        yield opened


def file_of(values: Any) -> bytes:
    return header(values.dtype, values.shape) + np.ascontiguousarray(values).tobytes()


def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def asked(values: Any, result_type: str = "T", field: str = "x", **changed: Any) -> NewUpload:
    array = Array("k", (field,), "float64", values.shape, digest(file_of(values)))
    if values.size >= LARGE:
        array = replace(array, sha256=None)
    return NewUpload("result", result_type, (replace(array, **changed),))


async def begun(place: Home, new: NewUpload) -> Upload:
    (one,) = await place.granting.begin("run", [new], run_follows=False)
    assert one.uploads is not None
    return one.uploads["k"]


async def put(place: Home, new: NewUpload, body: bytes) -> None:
    upload = await begun(place, new)
    assert upload.put is not None
    assert await place.send(upload.put, body) == 200


async def arrived(place: Home, body: bytes, parts: str | None = None) -> Any:
    return await place.arriving.arrived("result", "run", {"k": Sent(digest(body), parts)}, "")


async def sweep(place: Home, **ahead: float) -> int:
    place.clock.ahead = timedelta(**ahead)
    return await place.sweeper.sweep()


SMALL = np.arange(5_000.0).reshape(50, 100)


async def test_what_has_arrived_is_named_and_only_its_intent_is_swept(place: Home) -> None:
    body = file_of(SMALL)
    await put(place, asked(SMALL), body)
    found = (await arrived(place, body))["k"]
    assert found.ref.path == "files/result_x.npy"
    document = ResultDocument("result", "run", "T", {"x": found.ref}, NOW)
    keys = await place.engines.documents.add_result(document)
    await place.observer.observe(*keys)
    assert await sweep(place, minutes=70) == 0, "a grant may still hold"
    assert await sweep(place, minutes=80) == 1
    assert place.left() == ["result_x.npy"]
    read = await place.engines.documents.open_result("result")
    np.testing.assert_array_equal(read.data["x"], SMALL)


async def test_what_is_left_at_any_step_is_swept_when_its_grants_have_ended(place: Home) -> None:
    values = np.arange(float(LARGE))
    body = file_of(values)
    each = part_size(len(body))
    first = body[:each]
    await begun(place, asked(values))
    (grant,) = await place.granting.parts("result", "k", [(1, digest(first))])
    assert await place.send(grant, first) == 200
    before = place.left()
    assert before
    assert await sweep(place, minutes=70) == 0
    assert place.left() == before
    assert await sweep(place, minutes=80) == 1
    assert place.left() == []
    assert await place.send(grant, first) >= 400, "late parts find no upload"
    place.clock.ahead = timedelta()
    await put(place, asked(SMALL), file_of(SMALL))
    await arrived(place, file_of(SMALL))
    assert await sweep(place, minutes=80) == 1, "looked at, and never named"
    assert place.left() == []


async def test_a_large_array_comes_in_parts_and_whoever_begins_again_goes_on(place: Home) -> None:
    values = np.random.default_rng(1).normal(size=LARGE)
    body = file_of(values)
    upload = await begun(place, asked(values))
    each, over = upload.part_bytes, hashlib.sha256()
    parts = [body[start : start + each] for start in range(0, len(body), each)]
    assert len(parts) == upload.part_count
    for number, part in enumerate(parts, 1):
        over.update(hashlib.sha256(part).digest())
        if number == 2:
            with pytest.raises(UploadIncompleteError, match="parts are missing"):
                await arrived(place, body, over.hexdigest())
            again = await begun(place, asked(values))
            assert [(one.number, one.sha256) for one in again.arrived] == [(1, digest(parts[0]))]
        (grant,) = await place.granting.parts("result", "k", [(number, digest(part))])
        assert await place.send(grant, part) == 200
    with pytest.raises(DigestMismatchError):
        await arrived(place, body[:-1], digest(b"others"))
    for _ in range(2):
        assert (await arrived(place, body, over.hexdigest()))["k"].size_bytes == len(body)
    assert (await begun(place, asked(values))).held is not None
    with pytest.raises(UploadEndedError):
        await place.granting.parts("result", "k", [(1, digest(parts[0]))])


async def test_only_the_declared_bytes_are_taken_and_once(place: Home) -> None:
    body = file_of(SMALL)
    upload = await begun(place, asked(SMALL))
    assert upload.put is not None
    other = body[:-1] + b"!"
    assert await place.send(upload.put, other) in (400, 403)
    with pytest.raises(UploadIncompleteError):
        await arrived(place, body)
    assert await place.send(upload.put, body) == 200
    assert await place.send(upload.put, body) == 412, "the same again: whoever completes looks"
    await arrived(place, body)
    with pytest.raises(DigestMismatchError):
        await arrived(place, other)
    with pytest.raises(InvalidFieldError, match="not granted"):
        await place.arriving.arrived("result", "run", {"other": Sent(digest(body), None)}, "")


async def test_another_declaration_under_an_id_is_refused(place: Home) -> None:
    await begun(place, asked(SMALL))
    for new in (asked(SMALL + 1), asked(SMALL, field="y"), asked(SMALL[:10])):
        with pytest.raises(AlreadyExistsError):
            await begun(place, new)
    with pytest.raises(NotFoundError):
        await place.granting.begin("nobody", [asked(SMALL)], run_follows=False)


async def test_a_file_that_is_no_npy_of_its_reference_is_refused(place: Home) -> None:
    body = file_of(SMALL).replace(b"(50, 100)", b"(100, 50)")
    await put(place, asked(SMALL, sha256=digest(body)), body)
    with pytest.raises(DigestMismatchError, match=r"not a \.npy"):
        await arrived(place, body)


async def test_paths_of_an_ensemble_come_with_the_axis_first_that_grows(place: Home) -> None:
    body = file_of(SMALL.T)
    new = asked(SMALL, "StochasticEnsemble", "paths", sha256=digest(body))
    await put(place, new, body)
    found = (await arrived(place, body))["k"]
    document = ResultDocument("result", "run", "StochasticEnsemble", {"paths": found.ref}, NOW)
    await place.engines.documents.add_result(document)
    read = await place.engines.documents.open_result("result")
    np.testing.assert_array_equal(read.data["paths"], SMALL)


async def test_what_lay_there_before_is_left_alone(place: Home) -> None:
    place.put("files/result_x.npy", b"somebody's")
    body = file_of(SMALL)
    await put(place, asked(SMALL), body)
    assert (await arrived(place, body))["k"].ref.path == "files/result_x~2.npy"
    assert await sweep(place, minutes=80) == 1
    assert place.left() == ["result_x.npy"]


async def test_what_is_swept_cannot_be_named_and_what_is_named_is_not_swept(
    place: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = file_of(SMALL)
    await put(place, asked(SMALL), body)
    place.clock.ahead = timedelta(minutes=80)
    # Looked at in the very moment: the sweeper comes too late, for the intent is another by now.
    real = place.engines.intents.find

    async def found_and_then_used(result_id: str) -> Any:
        seen = await real(result_id)
        monkeypatch.setattr(place.sweeper._intents, "find", real)
        await arrived(place, body)
        return seen

    monkeypatch.setattr(place.sweeper._intents, "find", found_and_then_used)
    assert await place.sweeper.sweep() == 0
    assert "result_x.npy" in place.left()
    assert await sweep(place, minutes=160) == 1
    with pytest.raises(UploadEndedError):
        await arrived(place, body)


async def test_bytes_that_come_after_a_delete_are_swept(place: Home) -> None:
    body = file_of(SMALL)
    upload = await begun(place, asked(SMALL))
    assert upload.put is not None
    assert await place.send(upload.put, body) == 200
    found = (await arrived(place, body))["k"]
    document = ResultDocument("result", "run", "T", {"x": found.ref}, NOW)
    keys = await place.engines.documents.add_result(document)
    await place.observer.observe(*keys)
    await place.engines.documents.delete(Key("result", "result"))
    assert "result_x.npy" not in place.left()
    assert await place.send(upload.put, body) == 200, "its URL still holds"
    assert await sweep(place, minutes=80) == 1
    assert place.left() == []


def rows_for(values: Any, upload_id: str = "append", grows: str = "result") -> NewUpload:
    return replace(asked(values), result_id=upload_id, grows=grows)


async def a_growing(place: Home) -> None:
    """A result whose field is in a file."""
    await put(place, asked(SMALL), file_of(SMALL))
    found = (await arrived(place, file_of(SMALL)))["k"]
    document = ResultDocument("result", "run", "T", {"x": found.ref}, NOW)
    await place.observer.observe(*await place.engines.documents.add_result(document))
    await sweep(place, minutes=80)
    place.clock.ahead = timedelta()


async def rows_arrived(place: Home, body: bytes, upload_id: str = "append") -> Any:
    sent = {"k": Sent(digest(body), None)}
    return (await place.arriving.rows_arrived(upload_id, "result", sent))["k"].ref


async def stored(place: Home) -> Any:
    return (await place.engines.documents.open_result("result")).data["x"]


async def test_rows_are_appended_and_what_is_left_of_them_is_swept(place: Home) -> None:
    await a_growing(place)
    before, rows = place.left(), SMALL[:7] + 1
    await put(place, rows_for(rows), file_of(rows))
    ref = await rows_arrived(place, file_of(rows))
    async with place.arriving.taking("append"):
        for _ in range(2):  # a repeat finds the same rows already there
            await place.engines.documents.append("result", {"x": ref}, 50)
    np.testing.assert_array_equal(await stored(place), np.concatenate([SMALL, rows]))
    is_chunk = ref.path.startswith("files/result_")
    assert (ref.path.removeprefix("files/") in place.left()) == is_chunk
    assert await sweep(place, minutes=80) == 1
    assert [name for name in place.left() if "append" in name] == []
    assert len(place.left()) == len(before) + is_chunk
    np.testing.assert_array_equal(await stored(place), np.concatenate([SMALL, rows]))


async def test_rows_that_nobody_appends_are_swept_when_their_grants_have_ended(
    place: Home,
) -> None:
    await a_growing(place)
    before, rows = place.left(), SMALL[:7] + 1
    await put(place, rows_for(rows), file_of(rows))
    await rows_arrived(place, file_of(rows))
    assert await sweep(place, minutes=70) == 0
    assert await sweep(place, minutes=80) == 1
    assert place.left() == before
    with pytest.raises(UploadEndedError):
        await rows_arrived(place, file_of(rows))
    np.testing.assert_array_equal(await stored(place), SMALL)


async def test_of_two_who_append_at_once_one_is_told_the_length(place: Home) -> None:
    await a_growing(place)
    refs = []
    for number in (1, 2):
        rows = SMALL[:7] + number
        await put(place, rows_for(rows, f"append{number}"), file_of(rows))
        refs.append(await rows_arrived(place, file_of(rows), f"append{number}"))
    assert refs[0].path != refs[1].path
    await place.engines.documents.append("result", {"x": refs[1]}, 50)
    with pytest.raises(LengthMismatchError):
        await place.engines.documents.append("result", {"x": refs[0]}, 50)
    assert refs[0].path.removeprefix("files/") in place.left(), "it may still be wanted"
    await place.engines.documents.append("result", {"x": refs[0]}, 57)
    expected = np.concatenate([SMALL, SMALL[:7] + 2, SMALL[:7] + 1])
    np.testing.assert_array_equal(await stored(place), expected)
    await sweep(place, minutes=80)
    np.testing.assert_array_equal(await stored(place), expected)


async def test_rows_that_are_appended_twice_are_there_twice_in_files_of_their_own(
    place: Home,
) -> None:
    await a_growing(place)
    rows = SMALL[:7] + 1
    await put(place, rows_for(rows), file_of(rows))
    ref = await rows_arrived(place, file_of(rows))
    for _ in range(2):  # by somebody who does not say where
        grown = await place.engines.documents.append("result", {"x": ref}, None)
    np.testing.assert_array_equal(await stored(place), np.concatenate([SMALL, rows, rows]))
    numbers = [number for number, _ in grown.data["x"].chunks]
    assert len(set(numbers)) == len(numbers)


async def test_what_a_dead_append_leaves_is_swept_and_what_another_has_sent_stays(
    place: Home,
) -> None:
    await a_growing(place)
    rows = SMALL[:7] + 1
    body = file_of(rows)
    # A program dies behind its grant, and its successor, who saves the same, had one already.
    await begun(place, rows_for(rows, "dead"))
    upload = await begun(place, rows_for(rows, "alive"))
    assert upload.put is not None
    assert await place.send(upload.put, body) == 200
    place.clock.ahead = timedelta(minutes=40)
    ref = await rows_arrived(place, body, "alive")
    assert await sweep(place, minutes=80) == 1, "that of the dead one"
    await place.engines.documents.append("result", {"x": ref}, 50)
    np.testing.assert_array_equal(await stored(place), np.concatenate([SMALL, rows]))
    await sweep(place, minutes=160)
    np.testing.assert_array_equal(await stored(place), np.concatenate([SMALL, rows]))
    assert [name for name in place.left() if name.endswith(".json")] == []


async def test_rows_for_a_file_that_was_put_together_meanwhile_are_copied(place: Home) -> None:
    await a_growing(place)
    documents = place.engines.documents
    first, second = SMALL[:7] + 1, SMALL[:7] + 2
    await put(place, rows_for(first, "first"), file_of(first))
    await documents.append("result", {"x": await rows_arrived(place, file_of(first), "first")}, 50)
    await put(place, rows_for(second, "second"), file_of(second))
    ref = await rows_arrived(place, file_of(second), "second")
    await documents.update_run("run", lambda run: replace(run, finished_at=NOW))

    async def is_one_file() -> bool:
        found = await documents.read(Key("result", "result"))
        return found is not None and b'"chunks"' not in found.body

    await eventually(is_one_file, what="that its chunks are put together")
    async with place.arriving.taking("second"):
        await documents.append("result", {"x": ref}, 57)
    expected = np.concatenate([SMALL, first, second])
    np.testing.assert_array_equal(await stored(place), expected)
    assert ref.path.removeprefix("files/") not in place.left()
    await sweep(place, minutes=80)
    np.testing.assert_array_equal(await stored(place), expected)


async def test_rows_and_results_are_not_taken_for_each_other(place: Home) -> None:
    await a_growing(place)
    rows = SMALL[:7] + 1
    await put(place, rows_for(rows), file_of(rows))
    sent = {"k": Sent(digest(file_of(rows)), None)}
    with pytest.raises(InvalidFieldError, match="granted for"):
        await place.arriving.arrived("append", "run", sent, "")
    with pytest.raises(InvalidFieldError, match="granted for"):
        await place.arriving.rows_arrived("append", "another", sent)
    with pytest.raises(AlreadyExistsError):
        await begun(place, replace(asked(rows), result_id="append"))
    with pytest.raises(NotFoundError):
        await begun(place, rows_for(rows, "append2", "nowhere"))


async def test_rows_under_the_id_of_a_result_are_refused_and_its_arrays_stay(place: Home) -> None:
    await a_growing(place)
    other = ResultDocument("other", "run", "T", {"x": SMALL}, NOW)
    await place.engines.documents.add_result(other)
    before, rows = place.left(), SMALL[:7] + 1
    with pytest.raises(AlreadyExistsError):
        await begun(place, rows_for(rows, "other"))
    await begun(place, rows_for(rows, "later"))
    later = ResultDocument("later", "run", "T", {"x": SMALL}, NOW)
    await place.engines.documents.add_result(later)
    await sweep(place, minutes=80)
    assert set(before) < set(place.left())
    for result_id in ("other", "later"):
        read = await place.engines.documents.open_result(result_id)
        np.testing.assert_array_equal(read.data["x"], SMALL)


def test_grants_and_margin_are_as_documented() -> None:
    assert (3_600, timedelta(minutes=15)) == (intents.SECONDS, intents.MARGIN)
