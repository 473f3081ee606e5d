"""What it costs to begin, find and complete uploads where a database has many already."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from asgard_server.blob import domain
from asgard_server.blob.domain import Held, NewUpload
from asgard_server.store import postgres_blob_rows
from asgard_server.store.postgres_blobs import PostgresBlobs

from tests.contract import blob_homes

OTHERS = 1_000
READ = (
    "SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0)"
    " FROM pg_stat_xact_user_tables WHERE relname = 'blobs'"
)


async def test_to_begin_uploads_reads_no_others_of_the_same_maker(tmp_path: Path) -> None:
    async with blob_homes.home("minio", tmp_path) as home:
        assert isinstance(home.table, PostgresBlobs)

        def ten(first: int) -> list[domain.Blob]:
            names = [f"n/{number:05}" for number in range(first, first + 10)]
            return [domain.begin(NewUpload(name=name), home.clock()) for name in names]

        # As services do it: what is planned while the table is small serves from then on.
        for first in range(0, OTHERS, 10):
            await home.table.begin(ten(first))

        async def read(connection: Any) -> tuple[str, int]:
            statement, arguments = postgres_blob_rows.insert_all(ten(OTHERS))
            async with connection.transaction():
                done = await connection.execute(statement, *arguments)
                return str(done), int(await connection.fetchval(READ))

        done, rows = await home.table._link.read(read)
        assert done == "INSERT 0 10"
        assert rows < 50


async def test_to_find_blobs_by_id_or_by_name_reads_no_others(tmp_path: Path) -> None:
    async with blob_homes.home("minio", tmp_path) as home:
        assert isinstance(home.table, PostgresBlobs)
        blobs = [
            domain.begin(NewUpload(name=f"n/{number:05}"), home.clock()) for number in range(OTHERS)
        ]
        for first in range(0, OTHERS, 10):
            await home.table.begin(blobs[first : first + 10])
        some = blobs[::100]
        names = [blob.id for blob in some[:5]] + [f"name:{blob.name}" for blob in some[5:]]
        found = await home.table.find([*names, "nobody", "name:nobody"])
        assert found == dict(zip(names, some, strict=True))

        async def read(connection: Any) -> int:
            async with connection.transaction():
                await connection.fetch(postgres_blob_rows.OF_IDS, [blob.id for blob in some[:5]])
                wanted = [blob.name for blob in some[5:]]
                await connection.fetch(postgres_blob_rows.OF_NAMES, wanted, "")
                return int(await connection.fetchval(READ))

        assert await home.table._link.read(read) < 50


async def test_to_complete_uploads_reads_no_others_that_go_on(tmp_path: Path) -> None:
    async with blob_homes.home("minio", tmp_path) as home:
        assert isinstance(home.table, PostgresBlobs)
        now = home.clock()
        blobs = [domain.begin(NewUpload(name=f"n/{number:05}"), now) for number in range(OTHERS)]
        for first in range(0, OTHERS, 10):
            await home.table.begin(blobs[first : first + 10])
        held = Held(size_bytes=1, etag="e")
        some = [(each, domain.ready(each, held, now, sha256=None)) for each in blobs[:10]]

        async def read(connection: Any) -> int:
            statement, arguments = postgres_blob_rows.complete_all(some)
            async with connection.transaction():
                done = await connection.fetch(statement, *arguments)
                assert len(done) == len(some)
                return int(await connection.fetchval(READ))

        assert await home.table._link.read(read) < 50


async def test_rows_that_have_nothing_in_common_are_written_as_they_are(tmp_path: Path) -> None:
    async with blob_homes.home("minio", tmp_path) as home:
        assert isinstance(home.table, PostgresBlobs)
        at, later = home.clock(), home.clock()
        sha256 = [letter * 64 for letter in "ab"]
        alike = [
            domain.begin(NewUpload(name=f"n/{place}", size_bytes=9, sha256=sha256[0]), at)
            for place in range(3)
        ]
        unlike = [
            domain.begin(NewUpload(name='it\'s a, {"name"}'), later, "ada"),
            domain.begin(
                NewUpload("id-7", "b", 70 << 20, sha256[1], "text/plain", lent_to="ben"), at, "eve"
            ),
            domain.begin(NewUpload(name="c", size_bytes=3, sha256=sha256[0], seconds=5), later),
        ]
        for some in (alike, unlike, alike[:1]):
            assert await home.table.begin(some) == some
            assert await home.table.known([one.id for one in some]) == {one.id: one for one in some}
        held = Held(size_bytes=11, etag="e")
        whole, copied = held._replace(size_bytes=9), replace(unlike[0], attempt="copy")
        changes = [
            *(
                (one, domain.ready(one, whole, at, sha256=one.sha256, verified=True))
                for one in alike
            ),
            (unlike[0], domain.ready(copied, held, at, sha256=sha256[1])),
            (unlike[1], domain.ready(unlike[1], held, later, sha256=None, sha256_parts="c" * 64)),
            (unlike[2], domain.moved_to(unlike[2], "abandoned")),
        ]
        after = [one for _, one in changes]
        assert await home.table.settle_all(changes) == after
        assert await home.table.known([one.id for one in after]) == {one.id: one for one in after}


async def test_a_row_of_another_attempt_is_left_as_it_is(tmp_path: Path) -> None:
    async with blob_homes.home("minio", tmp_path) as home:
        at = home.clock()
        there = [domain.begin(NewUpload(name=name), at) for name in "ab"]
        await home.table.begin(there)
        meant = [there[0], replace(there[1], attempt="other")]
        held = Held(size_bytes=1, etag="e")
        changes = [(one, domain.ready(one, held, at, sha256=None)) for one in meant]
        assert await home.table.settle_all(changes) == [changes[0][1], there[1]]
        assert await home.table.settle_all(changes[1:]) == [there[1]]
        # What others have set meanwhile is as it should be afterwards, too.
        await home.table.settle(there[1], replace(there[1], upload_id="u"))
        whole = (there[1], domain.ready(there[1], held, at, sha256=None))
        assert await home.table.settle_all([whole]) == [whole[1]]
        assert await home.table.known([there[1].id]) == {there[1].id: whole[1]}
