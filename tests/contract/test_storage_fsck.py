"""Examining a folder finds what is not whole; repairing removes only what is old."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gimle.asgard.core.folder import Folder, fsck

from tests.contract.storage_writers import a_result, a_run, references_of


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path, durability="relaxed")


@pytest.fixture
def broken(folder: Folder) -> Folder:
    """A folder with one of every flaw, and a healthy run beside them."""
    root = Path(folder.path)
    healthy, _ = folder.create_run(run := a_run(), [a_result(run.id, {"x": np.arange(2000)})])
    orphan_run, (orphan,) = folder.create_run(
        run := a_run(), [a_result(run.id, {"x": np.arange(2000)})]
    )
    os.unlink(root / "runs" / f"{orphan_run.id}.json")
    unlisted = folder.add_result(a_result(healthy.id, {"k": 1}))
    folder.update_run(
        healthy.id, lambda old: replace(old, results=(old.results[0], "never-written"))
    )
    lost = folder.add_result(a_result(healthy.id, {"x": np.arange(2000)}))
    (ref,) = references_of(folder, lost.id)
    os.unlink(root / ref.path)
    (root / "runs" / "half.json").write_text("{")
    (root / "runs" / "with space.json").write_text("{}")
    (root / "files" / "nobody_x.npy").write_bytes(b"")
    (root / "results" / ".dead-1.tmp").write_bytes(b"")
    (root / ".asgard" / "deleting" / "odd").write_text("?")
    assert unlisted.id != orphan.id
    return folder


FLAWS = {
    "unreadable": 1,
    "missing_array": 1,
    "unlisted": 1,
    "listed_but_missing": 1,
    "orphan_result": 1,
    "orphan_array": 1,
    "temporary": 1,
    "unfinished": 1,
    "unknown": 1,
}


def kinds(report: fsck.Report) -> Counter[str]:
    return Counter(finding.kind for finding in report.findings)


def files_of(folder: Folder) -> dict[str, bytes]:
    paths = (p for p in Path(folder.path).rglob("*") if p.is_file() and "locks" not in p.parts)
    return {str(path): path.read_bytes() for path in paths}


def test_a_healthy_folder_has_no_findings(folder: Folder) -> None:
    run, _ = folder.create_run(a_run())
    growing = folder.add_result(a_result(run.id, {"x": [1.0], "deep": [np.arange(2000)]}))
    folder.append(growing.id, {"x": [2.0]})
    report = folder.fsck()
    assert report.findings == []
    assert report.clean
    assert (report.runs, report.results, report.arrays) == (1, 1, 2)


def test_every_flaw_is_found_and_nothing_is_changed(broken: Folder) -> None:
    before = files_of(broken)
    report = broken.fsck()
    assert kinds(report) == FLAWS
    assert not report.clean
    assert not any(finding.repaired for finding in report.findings)
    assert all(finding.problem and finding.path for finding in report.findings)
    assert files_of(broken) == before


def test_repairing_leaves_alone_what_is_young(broken: Folder) -> None:
    before = set(files_of(broken))
    report = broken.fsck(repair=True)
    assert kinds(report) == FLAWS
    assert [finding.kind for finding in report.findings if finding.repaired] == ["unlisted"]
    assert set(files_of(broken)) == before


def test_repairing_mends_what_a_day_has_not_touched(
    broken: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    tomorrow = time.time() + fsck.OLD_SECONDS + 60
    monkeypatch.setattr("time.time", lambda: tomorrow)
    report = broken.fsck(repair=True)
    left = {finding.kind for finding in report.findings if not finding.repaired}
    assert left == {"unreadable", "missing_array", "unknown"}
    again = kinds(broken.fsck(repair=True))
    assert set(again) == {"unreadable", "missing_array", "unknown"}
    (run,) = [id for id in broken.ids("run") if id != "half"]
    results = broken.read_run(run).results
    assert len(results) == 3
    assert "never-written" not in results


def test_arrays_stay_while_any_result_cannot_be_read(
    broken: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    (Path(broken.path) / "results" / "half.json").write_text("{")
    monkeypatch.setattr(fsck, "OLD_SECONDS", -60.0)
    report = broken.fsck(repair=True)
    assert "orphan_array" not in kinds(report)
    assert (Path(broken.path) / "files" / "nobody_x.npy").exists()


def test_an_unlisted_result_is_listed_by_a_repair(folder: Folder) -> None:
    run, (result,) = folder.create_run(run := a_run(), [a_result(run.id, {"x": 1})])
    path = Path(folder.path) / "runs" / f"{run.id}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "results": []}))
    assert folder.fsck(repair=True).clean
    assert folder.read_run(run.id).results == (result.id,)


def test_a_result_that_its_run_did_not_list_outlives_it_and_is_found(folder: Folder) -> None:
    # As its writer leaves it who dies between the result's document and the run's.
    run, _ = folder.create_run(a_run())
    unlisted = folder.add_result(a_result(run.id, {"x": np.arange(2000)}))
    folder.update_run(run.id, lambda old: replace(old, results=()))
    folder.delete_run(run.id)
    (found,) = folder.fsck(repair=True).findings
    assert (found.kind, found.path, found.repaired) == (
        "orphan_result",
        f"results/{unlisted.id}.json",
        False,
    )
    tomorrow = time.time() + fsck.OLD_SECONDS + 60
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(time, "time", lambda: tomorrow)
        assert [found.repaired for found in folder.fsck(repair=True).findings] == [True]
    assert folder.fsck().findings == []
    assert not list((Path(folder.path) / "files").iterdir())
