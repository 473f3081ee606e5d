"""One process over S3 and no database: index and ledger in a file, and all the same promises."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
from asgard_server.feed.memory import MemoryFeed
from asgard_server.run.observe import Observer
from asgard_server.run.scan import Noticer
from asgard_server.run.store import Key
from asgard_server.store.s3 import S3Documents
from asgard_server.store.sqlite import SqliteRunIndex
from asgard_server.store.sqlite_ledger import SqliteLedger
from gimle.asgard.core.documents import decode_run
from gimle.asgard.core.s3.bucket import Bucket

from tests.contract.document_places import STORES, place_in
from tests.unit.store.s3_replicas import a_result, a_run, eventually, running


async def test_a_storage_in_s3_is_served_from_a_file(tmp_path: Path) -> None:
    place = place_in(STORES["versitygw"]())
    library = await asyncio.to_thread(Bucket, place)
    early = a_run()
    await asyncio.to_thread(library.create_run, early)
    file = tmp_path / "index.sqlite3"
    ledger = await SqliteLedger.open(file, storage_id=library.storage_id)
    documents = await S3Documents.open(place, ledger, cache=tmp_path / "cache", list_every_s=0.1)
    assert documents.storage_id == library.storage_id
    index = await SqliteRunIndex.open(
        file,
        documents.read_now,
        storage_id=documents.storage_id,
        stamp=documents.stamp_now,
        written=documents.written,
    )
    observer = Observer(index, MemoryFeed())
    noticer = Noticer(documents, index, observer, look_every=0.2)
    try:
        async with running(noticer.run(), documents.run(observer.observe)):
            await asyncio.wait_for(noticer.reconciled(), 60)
            assert await index.run(early.id) is not None
            run = a_run()
            await documents.create_run(run, [])
            await observer.observe(Key("run", run.id))
            result = a_result(run.id, computed=np.arange(5_000.0))
            await observer.observe(*await documents.add_result(result))
            row = await index.run(run.id)
            assert row is not None
            assert row.result_count == 1

            async def listed() -> bool:
                found = await documents.read(Key("run", run.id))
                return found is not None and decode_run(found.body).results == (result.id,)

            await eventually(listed)

            async def done() -> bool:
                return not await ledger.begun(0) and not await ledger.unlisted(0)

            await eventually(done)
            late = a_run()
            await asyncio.to_thread(library.create_run, late)

            async def noticed() -> bool:
                return await index.run(late.id) is not None

            await eventually(noticed)
            await documents.delete(Key("run", run.id), await index.result_ids(run.id))
            await observer.observe(Key("result", result.id), Key("run", run.id))
            assert await index.run(run.id) is None
            assert await index.tombstone(Key("run", run.id)) is not None
        assert await asyncio.to_thread(library.ids, "run") == sorted([early.id, late.id])
        assert await asyncio.to_thread(library.ids, "result") == []
    finally:
        await documents.close()
        await index.close()
        await ledger.close()
