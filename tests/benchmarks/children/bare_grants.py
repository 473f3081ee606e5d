"""CreateUploads as ten signatures and one insert, and nothing else: what gRPC and engines cost.

bare_grants DSN     prints its port
"""

from __future__ import annotations

import asyncio
import base64
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import grpc
import uvloop
from gimle.asgard.core.ids import new_id
from gimle.asgard.core.signing import Credentials, Endpoint, Signer
from gimle.asgard.v1 import blob_service_pb2 as pb

from tests.engines.s3_store import ACCESS_KEY, SECRET_KEY

_CONNECTIONS = 8
_SECONDS = 3_600
_TABLE = """
CREATE TABLE IF NOT EXISTS bare_blobs (
    id text PRIMARY KEY, maker text, name text, type text, size bigint, sha256 text, at bigint
);
CREATE UNIQUE INDEX IF NOT EXISTS bare_names ON bare_blobs (maker, name)
"""
_INSERT = """
INSERT INTO bare_blobs
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::bigint[]
)
"""


class _Bare:
    """Notes what is declared, and signs."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._signer = Signer(
            Endpoint.parse("http://127.0.0.1:9000"), Credentials(ACCESS_KEY, SECRET_KEY)
        )

    async def create_uploads(
        self, request: pb.CreateUploadsRequest, context: Any
    ) -> pb.CreateUploadsResponse:
        now = datetime.now(UTC)
        made = [self._upload(new, now) for new in request.uploads]
        await self._pool.execute(_INSERT, *zip(*(row for row, _ in made), strict=True))
        return pb.CreateUploadsResponse(uploads=[upload for _, upload in made])

    def _upload(self, new: pb.NewUpload, now: datetime) -> tuple[tuple[Any, ...], Any]:
        id, end = new_id(now), now + timedelta(seconds=_SECONDS)
        headers = {
            "content-type": new.content_type,
            "content-length": str(new.size_bytes),
            "if-none-match": "*",
            "x-amz-checksum-sha256": base64.b64encode(bytes.fromhex(new.sha256)).decode(),
        }
        url = self._signer.presign("PUT", "bare", f"blobs/{id}/1", _SECONDS, headers=headers)
        blob = {
            "blob_id": id,
            "name": new.name,
            "state": pb.Blob.STATE_UPLOADING,
            "size_bytes": new.size_bytes,
            "content_type": new.content_type,
            "sha256": new.sha256,
            "create_time": now,
            "expire_time": end,
        }
        put = {"url": url, "method": "PUT", "headers": headers, "expire_time": end}
        moment = int(now.timestamp() * 1e6)
        row = (id, "", new.name, new.content_type, new.size_bytes, new.sha256, moment)
        return row, {"blob": blob, "put": put}


async def _serve(dsn: str) -> None:
    async with asyncpg.create_pool(dsn, min_size=_CONNECTIONS, max_size=_CONNECTIONS) as pool:
        await pool.execute(_TABLE)
        server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        method = grpc.unary_unary_rpc_method_handler(
            _Bare(pool).create_uploads,
            pb.CreateUploadsRequest.FromString,
            pb.CreateUploadsResponse.SerializeToString,
        )
        server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(
                    "gimle.asgard.v1.BlobService", {"CreateUploads": method}
                ),
            )
        )
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        print(port, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1]))
