"""What a storage folder promises to whoever reads and writes it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gimle.asgard.core.documents import RunDocument
from gimle.asgard.core.errors import (
    AlreadyExistsError,
    DocumentError,
    InvalidFieldError,
    InvalidNameError,
    NotFoundError,
    StorageFullError,
    StorageUnavailableError,
)
from gimle.asgard.core.folder import Folder, files, npy
from gimle.asgard.core.folder.creating import Creator
from gimle.asgard.core.ids import new_id

from tests.contract.storage_writers import a_result, a_run

NOW = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "storage", durability="relaxed")


def everything(folder: Folder) -> list[str]:
    paths = [p for p in Path(folder.path).rglob("*") if p.is_file() and "locks" not in p.parts]
    paths = [p for p in paths if p.name != "_reserve"]
    return sorted(str(path.relative_to(folder.path)) for path in paths)


def test_opening_makes_the_documented_layout(folder: Folder) -> None:
    root = Path(folder.path)
    assert sorted(os.listdir(root)) == [
        ".asgard",
        ".asgard_metadata.json",
        "files",
        "results",
        "runs",
    ]
    metadata = json.loads((root / ".asgard_metadata.json").read_text())
    assert metadata["format"] == 1
    assert metadata["storage_id"] == folder.storage_id
    assert Folder(root).storage_id == folder.storage_id


def test_a_run_is_created_changed_and_read(folder: Folder) -> None:
    run = replace(a_run("first"), metadata={"seed": 3, "rate": float("nan")}, tags=("a",))
    folder.create_run(run)
    assert folder.read_run(run.id).metadata["seed"] == 3
    changed = folder.update_run(run.id, lambda old: replace(old, note="# hi"))
    assert changed.updated_at > run.updated_at
    assert folder.read_run(run.id).note == "# hi"
    before = folder.stat("run", run.id)
    folder.update_run(run.id, lambda old: old)
    after = folder.stat("run", run.id)
    assert before is not None
    assert after is not None
    assert before.st_ino == after.st_ino, "a change of nothing writes nothing"


def test_a_change_of_kind_alone_is_a_change_and_arrays_may_be_compared(folder: Folder) -> None:
    run, _ = folder.create_run(replace(a_run(), metadata={"n": 1, "a": np.arange(3)}))
    for n, dtype in ((True, float), (1.0, int)):
        metadata = {"n": n, "a": np.arange(3, dtype=dtype)}
        folder.update_run(run.id, partial(replace, metadata=metadata))
        stored = folder.read_run(run.id).metadata
        assert type(stored["n"]) is type(n)
        assert stored["a"].dtype == dtype
    before = folder.stat("run", run.id)
    folder.update_run(run.id, partial(replace, metadata=dict(metadata)))
    assert folder.stat("run", run.id) == before


def test_a_clock_that_went_back_takes_no_change_time_back(tmp_path: Path) -> None:
    clock = [datetime.now(UTC) + timedelta(hours=1)]
    folder = Folder(tmp_path, durability="relaxed", clock=lambda: clock[0])
    run, _ = folder.create_run(a_run())
    later = folder.update_run(run.id, lambda old: replace(old, note="1")).updated_at
    clock[0] -= timedelta(hours=2)
    assert folder.update_run(run.id, lambda old: replace(old, note="2")).updated_at == later
    folder.add_result(a_result(run.id, {}))
    assert folder.read_run(run.id).updated_at == later


def test_a_result_is_listed_in_its_run_in_the_order_of_saving(folder: Folder) -> None:
    run, _ = folder.create_run(a_run())
    ids = [folder.add_result(a_result(run.id, {"k": k})).id for k in range(5)]
    assert folder.read_run(run.id).results == tuple(ids)
    assert folder.read_run(run.id).updated_at >= run.updated_at


def test_keys_nobody_knows_survive_a_change(folder: Folder) -> None:
    run, _ = folder.create_run(a_run())
    path = Path(folder.path) / "runs" / f"{run.id}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "owner": "me", "$x": 1}))
    folder.add_result(a_result(run.id, {}))
    assert folder.read_run(run.id).extra == {"owner": "me", "$x": 1}
    assert json.loads(path.read_text())["owner"] == "me"


def test_an_id_is_taken_only_once(folder: Folder) -> None:
    run, (result,) = folder.create_run(run := a_run(), [a_result(run.id, {"x": np.arange(2000)})])
    before = everything(folder)
    with pytest.raises(AlreadyExistsError):
        folder.create_run(replace(run, name="other"), [a_result(run.id, {"x": np.arange(2000)})])
    for data in ({}, {"x": np.arange(3000)}):
        with pytest.raises(AlreadyExistsError):
            folder.add_result(replace(result, data=data))
    other = a_run()
    with pytest.raises(AlreadyExistsError):
        folder.create_run(
            other, [a_result(other.id, {"x": np.arange(2000)}), replace(result, run_id=other.id)]
        )
    assert everything(folder) == before, "what failed left nothing"


def test_of_many_who_create_one_id_at_once_one_wins(folder: Folder) -> None:
    run = a_run()
    won = []

    def create(number: int) -> None:
        try:
            folder.create_run(replace(run, name=str(number)))
        except AlreadyExistsError:
            return
        won.append(str(number))

    threads = [threading.Thread(target=create, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == [folder.read_run(run.id).name]


def test_what_is_not_there_is_not_found(folder: Folder) -> None:
    for ask in (
        lambda: folder.read_run("nobody"),
        lambda: folder.read_result("nobody"),
        lambda: folder.update_run("nobody", lambda run: run),
        lambda: folder.add_result(a_result("nobody", {"x": np.arange(2000)})),
        lambda: folder.delete_run("nobody"),
        lambda: folder.delete_result("nobody"),
    ):
        with pytest.raises(NotFoundError):
            ask()
    assert everything(folder) == [".asgard_metadata.json"]
    assert folder.read_bytes("run", "nobody") is None
    assert folder.stat("result", "nobody") is None


def test_a_delete_is_complete_and_takes_only_its_own(folder: Folder) -> None:
    kept, (other,) = folder.create_run(kept := a_run(), [a_result(kept.id, {"x": np.arange(2000)})])
    before = everything(folder)
    run, _ = folder.create_run(run := a_run(), [a_result(run.id, {"x": np.arange(2000)})])
    listed = folder.add_result(a_result(run.id, {"deep": [{"x": np.ones(5000)}]}))
    folder.update_run(run.id, lambda old: replace(old, results=(*old.results, other.id)))
    folder.delete_result(listed.id)
    assert listed.id not in folder.read_run(run.id).results
    folder.delete_run(run.id)
    assert everything(folder) == before, "a result listed by a run that is not its own stays"


def test_a_result_whose_run_vanishes_meanwhile_is_taken_back(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = folder.create_run(a_run())
    write = Creator.write_result

    def and_delete_the_run(self: Creator, result: Any) -> Any:
        stored = write(self, result)
        folder.delete_run(run.id)
        return stored

    monkeypatch.setattr(Creator, "write_result", and_delete_the_run)
    with pytest.raises(NotFoundError):
        folder.add_result(a_result(run.id, {"x": np.arange(2000)}))
    assert everything(folder) == [".asgard_metadata.json"]


@pytest.mark.parametrize("bad", ["", "..", "../x", "/tmp/x", "a/b", "a\\b", "a\0", "x" * 200, ".a"])
def test_ids_that_are_no_file_names_never_touch_the_disk(
    folder: Folder, bad: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    touched: list[Any] = []
    for name in ("open", "link", "rename", "unlink", "stat", "lstat"):
        monkeypatch.setattr(os, name, lambda *args, **_options: touched.append(args))
    run, result = a_run(), a_result("run", {"x": np.arange(2000)})
    for ask in (
        lambda: folder.create_run(replace(run, id=bad)),
        lambda: folder.create_run(run, [replace(result, id=bad, run_id=run.id)]),
        lambda: folder.add_result(replace(result, id=bad)),
        lambda: folder.add_result(replace(result, run_id=bad)),
        lambda: folder.append(bad, {"x": [1]}),
        lambda: folder.update_run(bad, lambda run: run),
        lambda: folder.delete_run(bad),
        lambda: folder.delete_result(bad),
        lambda: folder.read_run(bad),
        lambda: folder.read_result(bad),
        lambda: folder.read_bytes("run", bad),
        lambda: folder.stat("run", bad),
    ):
        with pytest.raises(InvalidNameError):
            ask()
    assert touched == []


def test_a_result_of_another_run_is_refused_at_creation(folder: Folder) -> None:
    with pytest.raises(InvalidFieldError, match=r"results\.run_id"):
        folder.create_run(a_run(), [a_result("other", {})])


def test_runs_come_newest_first_and_only_names_are_read(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = [NOW + timedelta(microseconds=37 * k) for k in range(300)]
    ids = [new_id(time) for time in times]
    for id, time in sorted(zip(ids, times, strict=True), key=lambda pair: hash(pair[0])):
        folder.create_run(RunDocument(id, "r", time, time))
    opened: list[str] = []
    real = os.open
    monkeypatch.setattr(os, "open", lambda path, *rest: opened.append(path) or real(path, *rest))  # type: ignore[func-returns-value]  # append answers None, then open is called
    assert list(folder.run_ids_newest_first()) == ids[::-1]
    assert opened == []


def test_runs_with_other_names_are_put_in_order_by_their_documents(folder: Folder) -> None:
    runs = Path(folder.path) / "runs"
    ordered = []
    for k in range(20):
        time = NOW + timedelta(seconds=k)
        id = (new_id(time), str(uuid.uuid4()), f"by-hand-{k}")[k % 3]
        (runs / f"{id}.json").write_text(json.dumps({"created_at": time.isoformat()}))
        ordered.append(id)
    (runs / "no-time.json").write_text("{}")
    os.utime(runs / "no-time.json", (0, NOW.timestamp() - 60))
    (runs / "broken.json").write_text("{")
    os.utime(runs / "broken.json", (0, NOW.timestamp() - 120))
    for stranger in (".half.json", "notes.txt", "with space.json"):
        (runs / stranger).write_text("{}")
    assert list(folder.run_ids_newest_first()) == [*ordered[::-1], "no-time", "broken"]


def test_a_folder_by_hand_without_metadata_is_read_and_given_an_id(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "results").mkdir()
    (tmp_path / "runs" / "mine.json").write_text('{"name": "By hand", "results": ["r"]}')
    (tmp_path / "results" / "r.json").write_text('{"run_id": "mine", "data": {"x": [1, 2]}}')
    folder = Folder(tmp_path, create=False)
    assert folder.read_run("mine").name == "By hand"
    assert folder.read_result("r").data == {"x": [1, 2]}
    folder.add_result(a_result("mine", {}))
    assert len(folder.read_run("mine").results) == 2
    assert folder.storage_id is not None


def test_a_stamp_changes_with_every_replacement(folder: Folder) -> None:
    run, _ = folder.create_run(a_run())
    stamps = set()
    for k in range(50):
        folder.update_run(run.id, lambda old, k=k: replace(old, note=str(k % 10)))  # type: ignore[misc]  # mypy sees no default
        ((id, stamp),) = folder.entries("run")
        assert id == run.id
        stamps.add(stamp)
    assert len(stamps) > 1


def test_documents_that_vanish_while_listing_are_left_out(folder: Folder) -> None:
    ids = [folder.create_run(a_run())[0].id for _ in range(200)]
    listing = folder.entries("run")
    first, _ = next(listing)
    for id in ids:
        if id != first:
            os.unlink(Path(folder.path) / "runs" / f"{id}.json")
    assert len(list(listing)) < 199


def test_a_place_that_vanished_or_became_another_is_noticed(folder: Folder, tmp_path: Path) -> None:
    folder.check()
    shutil.move(folder.path, tmp_path / "away")
    for ask in (
        folder.check,
        lambda: list(folder.entries("run")),
        lambda: list(folder.run_ids_newest_first()),
        lambda: folder.create_run(a_run()),
        folder.fsck,
    ):
        with pytest.raises(StorageUnavailableError) as caught:
            ask()
        assert caught.value.place == folder.path
    Folder(folder.path)
    with pytest.raises(StorageUnavailableError, match="another storage"):
        folder.check()


def test_a_place_that_is_not_there_is_made_only_when_wanted(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailableError, match="no such folder"):
        Folder(tmp_path / "nowhere", create=False)
    assert os.listdir(tmp_path) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageUnavailableError):
        Folder(tmp_path / "file")


def test_a_newer_format_is_refused_with_its_mend(tmp_path: Path) -> None:
    (tmp_path / ".asgard_metadata.json").write_text('{"format": 2, "storage_id": "x"}')
    with pytest.raises(StorageUnavailableError, match="upgrade gimle-asgard"):
        Folder(tmp_path)
    assert os.listdir(tmp_path) == [".asgard_metadata.json"]


def test_the_hidden_folder_may_be_removed_under_a_living_writer(folder: Folder) -> None:
    run, _ = folder.create_run(a_run())
    for _ in range(3):
        folder.add_result(a_result(run.id, {"x": np.arange(2000)}))
        shutil.rmtree(Path(folder.path) / ".asgard")
    gone = folder.add_result(a_result(run.id, {}))
    shutil.rmtree(Path(folder.path) / ".asgard")
    folder.delete_result(gone.id)
    assert len(folder.read_run(run.id).results) == 3
    assert Folder(folder.path).storage_id == folder.storage_id


def test_a_full_disk_is_said_so_and_leaves_nothing(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = folder.create_run(a_run())
    before = everything(folder)

    def full(fd: int, body: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        for data in ({}, {"x": np.arange(2000)}):
            with pytest.raises(StorageFullError):
                folder.add_result(a_result(run.id, data))
        with pytest.raises(StorageFullError):
            folder.create_run(a_run(), [])
    with monkeypatch.context() as patched:
        patched.setattr(npy, "_write_blocks", full)
        with pytest.raises(StorageFullError):
            folder.add_result(a_result(run.id, {"x": np.arange(2000)}))
    assert everything(folder) == before
    assert folder.read_run(run.id).results == ()


@pytest.mark.parametrize("place", ["results", "runs"])
def test_ctrl_c_while_a_folder_reaches_the_disk_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    folder = Folder(tmp_path, durability="durable")
    before = everything(folder)
    sync = files.sync_folder

    def interrupted(path: str) -> None:
        if path.endswith(place):
            raise KeyboardInterrupt
        sync(path)

    with monkeypatch.context() as patched:
        patched.setattr(files, "sync_folder", interrupted)
        run = a_run()
        results = [a_result(run.id, {}), a_result(run.id, {"x": np.arange(2000)})]
        with pytest.raises(KeyboardInterrupt):
            folder.create_run(run, results)
    assert everything(folder) == before


def test_a_place_without_hard_links_works_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: str, target: str, **options: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    folder = Folder(tmp_path)
    run, (result,) = folder.create_run(run := a_run(), [a_result(run.id, {"x": np.arange(2000)})])
    assert Folder(tmp_path).storage_id == folder.storage_id
    assert len(folder.read_result(result.id).data["x"]) == 2000
    for ask in (lambda: folder.create_run(run), lambda: folder.add_result(result)):
        with pytest.raises(AlreadyExistsError):
            ask()
    assert folder.fsck().findings == []


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EXDEV])
def test_a_system_that_links_nothing_through_proc_works_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    link = os.link

    def refuse(source: str, target: str, **options: Any) -> None:
        if source.startswith("/proc/"):
            raise OSError(number, os.strerror(number))
        link(source, target, **options)

    monkeypatch.setattr(os, "link", refuse)
    folder = Folder(tmp_path)
    run, _ = folder.create_run(a_run())
    assert folder.read_run(run.id) == run
    with pytest.raises(AlreadyExistsError):
        folder.create_run(run)
    assert folder.fsck().findings == []


def test_durable_writes_reach_the_disk_before_they_get_their_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    sync, link, rename = os.fsync, os.link, os.rename

    def where(fd: int) -> str:
        return os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))

    def synced(fd: int) -> None:
        name = where(fd)
        events.append(f"sync {'file' if name.startswith('.') else name}")
        sync(fd)

    def linked(source: str, target: str) -> None:
        events.append(f"name {os.path.basename(os.path.dirname(target))}")
        link(source, target)

    def renamed(source: str, target: str) -> None:
        events.append(f"name {os.path.basename(os.path.dirname(target))}")
        rename(source, target)

    folder = Folder(tmp_path)
    run, _ = folder.create_run(a_run())
    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "link", linked)
    monkeypatch.setattr(os, "rename", renamed)
    folder.add_result(a_result(run.id, {"x": np.arange(2000)}))
    assert events == [
        "name intents",
        *("sync file", "name files", "sync files"),
        *("sync file", "name results", "sync results"),
        *("sync file", "name runs", "sync runs"),
    ]
    events.clear()
    relaxed = Folder(tmp_path, durability="relaxed")
    relaxed.add_result(a_result(run.id, {"x": np.arange(2000)}))
    assert [event for event in events if event.startswith("sync")] == []


def test_an_unreadable_document_is_named(folder: Folder) -> None:
    (Path(folder.path) / "runs" / "half.json").write_text('{"name": ')
    with pytest.raises(DocumentError, match="half"):
        folder.read_run("half")
    folder.delete_run("half")
    assert folder.ids("run") == []


def test_durability_is_one_of_two(tmp_path: Path) -> None:
    with pytest.raises(InvalidFieldError, match="durability"):
        Folder(tmp_path, durability="perhaps")  # type: ignore[arg-type]  # the mistake under test
