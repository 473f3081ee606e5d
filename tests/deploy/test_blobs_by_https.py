"""Blobs behind a real nginx with HTTPS: a page in Chromium moves bytes by signed URLs.

The configuration is the one that docs/operate/reverse-proxy.md shows.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import hashlib
import http.server
import json
import os
import re
import socketserver
import ssl
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from gimle.asgard.v1 import blob_service_pb2 as pb
from gimle.asgard.v1 import blob_service_pb2_grpc as pb_grpc
from playwright.async_api import Page, async_playwright

from tests.browser.showing import find_chromium
from tests.cluster.processes import a_cluster
from tests.conftest import free_port
from tests.deploy.blob_replicas import BlobReplica, blob_replicas
from tests.engines import minio, versitygw
from tests.engines.nginx import Nginx
from tests.engines.s3_store import Store
from tests.rpc.authorities import Authority, files_of

ROOT = Path(__file__).resolve().parents[2]
PAGE_ON = "docs/operate/reverse-proxy.md"
MIB = 1 << 20

# What a page does: bytes are made in it by rule, so that they need not be carried there.
_SCRIPT = """
const made = (first, last) => {
  const bytes = new Uint8Array(last - first);
  for (let at = first; at < last; at++) bytes[at - first] = (at * 31 + (at >> 8)) & 255;
  return bytes;
};
const sent = async ({url, headers, first, last}) => {
  try {
    const answer = await fetch(url, {method: 'PUT', headers, body: made(first, last)});
    return {status: answer.status, text: await answer.text()};
  } catch (error) { return {status: 0, text: String(error)}; }
};
const got = async ({url, headers}) => {
  try {
    const answer = await fetch(url, {headers});
    const digest = await crypto.subtle.digest('SHA-256', await answer.arrayBuffer());
    const hex = Array.from(new Uint8Array(digest), each => each.toString(16).padStart(2, '0'));
    return {status: answer.status, sha256: hex.join('')};
  } catch (error) { return {status: 0, text: String(error)}; }
};
"""


def made(first: int, last: int) -> bytes:
    """The bytes that the page makes."""
    at = np.arange(first, last, dtype=np.uint32)
    return bytes(((at * 31 + (at >> 8)) & 255).astype(np.uint8).tobytes())


def sha(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


@contextmanager
def pages(folder: Path) -> Iterator[str]:
    """A site with a page and nothing else, at an origin of its own."""
    folder.mkdir(exist_ok=True)
    (folder / "index.html").write_text("<!doctype html><title>a page</title>")
    handler = functools.partial(_Quiet, directory=str(folder))
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        return


@dataclass
class Site:
    """A store behind nginx, the service that signs for it, and a page on another origin."""

    store: Store
    bucket: str
    blob: BlobReplica
    public: str
    base: str
    page: Page
    stranger: Page
    trust: ssl.SSLContext

    def object(self, key: str) -> bytes:
        """What lies in the store under a key of blobs."""
        answer = self.store.client().get_object(Bucket=self.bucket, Key=f"asgard/{key}")
        return bytes(answer["Body"].read())


def configuration() -> str:
    """The nginx configuration that the documentation shows."""
    (shown,) = re.findall(r"```nginx\n(.*?)```", (ROOT / PAGE_ON).read_text(), re.DOTALL)
    return str(shown)


def init(environ: dict[str, str], origin: str) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "gimle.asgard.cli", "blob", "init", "--origin", origin]
    done = subprocess.run(
        [*command, "--json"], env={**os.environ, **environ}, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    steps: list[dict[str, Any]] = json.loads(done.stdout)["steps"]
    return steps


STORES: dict[str, Callable[[str], Store]] = {
    # Its CORS is the server's, for all buckets; versitygw's is the rule that `blob init` makes.
    "minio": lambda origin: minio.another(MINIO_API_CORS_ALLOW_ORIGIN=origin),
    "versitygw": lambda origin: versitygw.server(),
}


@pytest.fixture(params=list(STORES))
async def site(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Site]:
    ports = free_port(), free_port()
    public, base = f"https://127.0.0.1:{ports[0]}", f"https://127.0.0.1:{ports[1]}/minio"
    authority = Authority("tests")
    pair = authority.pair("a site of tests")
    files = files_of(tmp_path / "tls", pair, authority)
    with pages(tmp_path / "page") as origin, pages(tmp_path / "stranger") as strange:
        store = STORES[request.param](origin)
        nginx = Nginx(
            tmp_path / "nginx",
            configuration(),
            public_listen=f"127.0.0.1:{ports[0]}",
            site_listen=f"127.0.0.1:{ports[1]}",
            store_address=store.endpoint.removeprefix("http://"),
            certificate=str(files.certificate),
            key=str(files.key),
        )
        nginx.start(ports[0])
        try:
            settings: dict[str, Any] = {"s3_public_endpoint": public, "s3_proxy_base": base}
            async with (
                a_cluster(
                    tmp_path, replicas=0, gateways=0, database=True, s3=store, started=False
                ) as cluster,
                blob_replicas(cluster, **settings) as (blob,),
                async_playwright() as playwright,
            ):
                bucket = cluster.environ["ASGARD_STORAGE"].split("/")[2]
                asking = {
                    **cluster.environ,
                    "ASGARD_S3_PUBLIC_ENDPOINT": public,
                    "SSL_CERT_FILE": str(files.authority),
                }
                # It asks as a page's browser would, through nginx.
                steps = await asyncio.to_thread(init, asking, origin)
                assert steps[-1]["outcome"] == "there", steps
                chromium = await playwright.chromium.launch(
                    executable_path=find_chromium(),
                    args=[
                        *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
                        f"--ignore-certificate-errors-spki-list={_spki(pair.certificate)}",
                    ],
                )
                opened = [await chromium.new_page(), await chromium.new_page()]
                for each, where in zip(opened, (origin, strange), strict=True):
                    await each.goto(where)
                    await each.add_script_tag(content=_SCRIPT.replace("const ", "var "))
                trust = ssl.create_default_context(cadata=authority.certificate.decode())
                yield Site(store, bucket, blob, public, base, opened[0], opened[1], trust)
                await chromium.close()
        finally:
            nginx.stop()
            print((tmp_path / "nginx" / "error.log").read_text())
            if request.param == "minio":
                store.remove()


def _spki(certificate: bytes) -> str:
    key = x509.load_pem_x509_certificate(certificate).public_key()
    spki = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.b64encode(hashlib.sha256(spki).digest()).decode()


def headers(grant: pb.Grant) -> dict[str, str]:
    """What a page may say: its browser says the length."""
    return {name: value for name, value in grant.headers.items() if name != "content-length"}


async def put(page: Page, grant: pb.Grant, first: int, last: int) -> dict[str, Any]:
    asked = {"url": grant.url, "headers": headers(grant), "first": first, "last": last}
    answer: dict[str, Any] = await page.evaluate("asked => sent(asked)", asked)
    return answer


async def get(page: Page, grant: pb.Grant, url: str | None = None) -> dict[str, Any]:
    asked = {"url": url or grant.url, "headers": headers(grant)}
    answer: dict[str, Any] = await page.evaluate("asked => got(asked)", asked)
    return answer


async def lent(stub: Any, blob_id: str, **fields: Any) -> pb.Grant:
    wanted = pb.CreateDownloadsRequest.Item(blob_id=blob_id, **fields)
    answer = await stub.CreateDownloads(pb.CreateDownloadsRequest(downloads=[wanted]))
    grant: pb.Grant = answer.downloads[0].grant
    return grant


async def completed(stub: Any, blob_id: str) -> pb.Blob:
    item = pb.CompleteUploadsRequest.Item(blob_id=blob_id)
    done = await stub.CompleteUploads(pb.CompleteUploadsRequest(uploads=[item]), timeout=60)
    assert done.outcomes[0].WhichOneof("outcome") == "blob", done
    blob: pb.Blob = done.outcomes[0].blob
    return blob


async def test_a_page_on_another_origin_moves_bytes_through_a_proxy_that_keeps_the_host(
    site: Site,
) -> None:
    async with grpc.aio.insecure_channel(site.blob.address) as channel:
        stub: Any = pb_grpc.BlobServiceStub(channel)
        size = 3_000_001
        new = pb.NewUpload(name="one", size_bytes=size, sha256=sha(made(0, size)))
        begun = (await stub.CreateUploads(pb.CreateUploadsRequest(uploads=[new]))).uploads[0]
        assert begun.put.url.startswith(f"{site.public}/")

        # A browser does not send it for a page that the store does not allow.
        refused = await put(site.stranger, begun.put, 0, size)
        assert refused["status"] == 0, refused
        wrong = await put(site.page, begun.put, 1, size + 1)
        assert wrong["status"] == 400, wrong
        assert (await put(site.page, begun.put, 0, size))["status"] == 200
        # Refused before its bytes are read: the answer (412) may be lost with the connection.
        assert (await put(site.page, begun.put, 0, size))["status"] in (0, 412, 502)
        blob = await completed(stub, begun.blob.blob_id)
        assert site.object(f"blobs/{blob.blob_id}/1") == made(0, size)

        # In parts, the last one shorter.
        size = 64 * MIB + 12_345
        new = pb.NewUpload(name="parts", size_bytes=size, sha256=sha(made(0, size)))
        begun = (await stub.CreateUploads(pb.CreateUploadsRequest(uploads=[new]))).uploads[0]
        each = begun.parts.part_size_bytes
        spans = [(at, min(at + each, size)) for at in range(0, size, each)]
        parts = [
            pb.SignPartsRequest.Part(number=number, sha256=sha(made(*span)))
            for number, span in enumerate(spans, 1)
        ]
        asked = pb.SignPartsRequest(blob_id=begun.blob.blob_id, parts=parts)
        grants = (await stub.SignParts(asked)).grants
        for grant, span in zip(grants, spans, strict=True):
            assert (await put(site.page, grant, *span))["status"] == 200
        large = await completed(stub, begun.blob.blob_id)
        assert site.object(f"blobs/{large.blob_id}/1") == made(0, size)

        # And back, by the site's path: MINIO_PROXY_BASE is for downloads.
        whole = await lent(stub, large.blob_id)
        assert whole.url.startswith(f"{site.base}/")
        assert await get(site.page, whole) == {"status": 200, "sha256": sha(made(0, size))}
        some = await lent(stub, large.blob_id, first_byte=20 * MIB, last_byte=21 * MIB - 1)
        answer = await get(site.page, some)
        assert answer == {"status": 206, "sha256": sha(made(20 * MIB, 21 * MIB))}
        assert (await get(site.stranger, whole))["status"] == 0


async def test_a_url_that_meets_another_host_than_it_was_signed_for_is_refused(site: Site) -> None:
    async with (
        grpc.aio.insecure_channel(site.blob.address) as channel,
        httpx.AsyncClient(verify=site.trust, timeout=60) as client,
    ):
        stub: Any = pb_grpc.BlobServiceStub(channel)
        body = made(0, 1_000)
        new = pb.NewUpload(name="one", size_bytes=len(body), sha256=sha(body))
        begun = (await stub.CreateUploads(pb.CreateUploadsRequest(uploads=[new]))).uploads[0]
        said = dict(begun.put.headers)
        for changed in ("elsewhere.example.org", site.store.endpoint.removeprefix("http://")):
            refused = await client.put(
                begun.put.url, content=body, headers={**said, "host": changed}
            )
            assert refused.status_code == 403, refused.text
            assert "SignatureDoesNotMatch" in refused.text
        assert (await client.put(begun.put.url, content=body, headers=said)).status_code == 200
        blob = await completed(stub, begun.blob.blob_id)

        grant = await lent(stub, blob.blob_id)
        assert (await client.get(grant.url)).content == body
        # The same URL by the proxy that keeps the Host: it was signed for the store's own.
        other = grant.url.replace(site.base, site.public)
        refused = await client.get(other)
        assert (refused.status_code, "SignatureDoesNotMatch" in refused.text) == (403, True)
        # Nobody uploads by the path that is for downloads.
        upload = await client.put(grant.url, content=body)
        assert upload.status_code == 403
        assert site.object(f"blobs/{blob.blob_id}/1") == body
