"""What the beginning of uploads costs a database that has many already."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from asgard_server.blob import domain
from asgard_server.blob.domain import NewUpload
from asgard_server.store import postgres_blobs
from asgard_server.store.blob_rows import row_of
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
            rows = [row_of(blob) for blob in ten(OTHERS)]
            async with connection.transaction():
                done = await connection.execute(
                    postgres_blobs._INSERT_ALL, *zip(*rows, strict=True)
                )
                return str(done), int(await connection.fetchval(READ))

        done, rows = await home.table._link.read(read)
        assert done == "INSERT 0 10"
        assert rows < 50
