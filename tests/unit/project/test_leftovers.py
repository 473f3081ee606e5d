"""What a test leaves in the servers of the suite goes with it, and no later test finds it."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from botocore.exceptions import ClientError

from tests.conftest import ROOM_BYTES, pytest_sessionstart
from tests.engines import minio, postgres, versitygw
from tests.engines.leftovers import left, removed_at_the_end


def test_a_block_removes_what_was_left_in_it_the_last_first() -> None:
    removed: list[str] = []
    with removed_at_the_end():
        left(lambda: removed.append("of the outer"))
        with suppress(ZeroDivisionError), removed_at_the_end():
            left(lambda: removed.append("first"))
            left(lambda: removed.append("last"))
            _ = 1 / 0
        assert removed == ["last", "first"]
    assert removed == ["last", "first", "of the outer"]


@pytest.mark.parametrize("name", ["minio", "versitygw"])
def test_a_bucket_goes_with_all_it_holds_unless_it_is_kept(name: str) -> None:
    store = {"minio": minio.server, "versitygw": versitygw.server}[name]()
    client = store.client()
    with removed_at_the_end():
        buckets = [store.bucket(), store.bucket(kept=True)]
        for bucket in buckets:
            client.put_object(Bucket=bucket, Key="folder/object", Body=b"bytes")
    with pytest.raises(ClientError, match="404"):
        client.head_bucket(Bucket=buckets[0])
    assert store.keys(buckets[1]) == ["folder/object"]
    store.remove_bucket(buckets[1])


async def test_a_folder_of_a_name_that_comes_again_has_another_database(tmp_path: Path) -> None:
    with removed_at_the_end():
        first = await postgres.database_of(tmp_path)
        assert await postgres.database_of(tmp_path) == first
        postgres.give_back(tmp_path)
        assert await postgres.database_of(tmp_path) == first
    assert await postgres.database_of(tmp_path) != first


@pytest.mark.parametrize(("free", "begins"), [(ROOM_BYTES, True), (ROOM_BYTES - 1, False)])
def test_the_whole_suite_begins_only_where_it_has_room(
    free: int, begins: bool, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free))
    monkeypatch.setattr(request.config, "args_source", pytest.Config.ArgsSource.TESTPATHS)
    with nullcontext() if begins else pytest.raises(pytest.UsageError, match="TMPDIR"):
        pytest_sessionstart(request.session)
    monkeypatch.setattr(request.config, "args_source", pytest.Config.ArgsSource.ARGS)
    pytest_sessionstart(request.session)  # a part of it always may
