"""What a store answers to a download, whole and in part: of a small blob no less than of others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from asgard_server.blob.keeping import Wanted

from tests.contract import blob_homes
from tests.contract.blob_moves import uploaded


@pytest.mark.parametrize("name", blob_homes.HOMES)
async def test_a_small_blob_is_answered_as_a_larger_one_is(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads = []
    blob_homes.known(name, monkeypatch)
    async with blob_homes.home(name, tmp_path) as opened:
        for size in (1_000, 1 << 20):
            body = os.urandom(size)
            blob = await uploaded(opened, body, name=f"of-{size}", content_type="text/plain")
            ((_, grant),) = await opened.keeper.lend([Wanted(blob.id)], None)
            whole = await opened.send(grant)
            assert (whole.status_code, whole.content) == (200, body)
            assert whole.headers["content-length"] == str(size)
            assert whole.headers["content-type"].startswith("text/plain")
            assert whole.headers["etag"]
            part = await opened.send(grant, range="bytes=10-19")
            assert (part.status_code, part.content) == (206, body[10:20])
            assert part.headers["content-range"] == f"bytes 10-19/{size}"
            heads.append(sorted(whole.headers))
        assert heads[0] == heads[1]
        await opened.keeper.delete(blob.id)
        assert (await opened.send(grant)).status_code == 404
