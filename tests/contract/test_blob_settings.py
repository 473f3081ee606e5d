"""Blobs as settings say: regions, encryption, checksums, tokens, keys that rotate."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from asgard_server.blob import limits, parts
from asgard_server.blob.completing import Completer
from asgard_server.blob.domain import Blob, NewUpload
from asgard_server.blob.keeping import Keeper, Wanted
from asgard_server.blob.store import Grant
from asgard_server.blob.uploading import Uploader
from asgard_server.processes.s3 import s3_place, s3_signer
from asgard_server.settings import S3Prefix, SettingError, Settings
from asgard_server.store import s3_keys
from asgard_server.store.s3_bytes import S3Bytes
from asgard_server.store.s3_grants import S3Grants
from asgard_server.store.s3_objects import Objects
from asgard_server.store.sqlite_blobs import SqliteBlobs
from asgard_server.store.sqlite_database import SqliteDatabase
from gimle.asgard.core.errors import InvalidFieldError, StorageUnavailableError
from gimle.asgard.core.s3.place import Connection, parse_url

from tests.engines import minio
from tests.engines.s3_store import ACCESS_KEY, SECRET_KEY, Store
from tests.rpc.running import eventually

BODY = b"what a simulation has computed"
KMS_KEY = "tests-key"


def sha(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


class Client:
    """BlobService's insides as settings put them together, and who uses what they grant."""

    def __init__(
        self, uploader: Uploader, completer: Completer, keeper: Keeper, http: httpx.AsyncClient
    ) -> None:
        self.uploader, self.completer, self.keeper, self.http = uploader, completer, keeper, http

    async def send(self, grant: Grant, body: bytes = b"") -> httpx.Response:
        headers = {name: value for name, value in grant.headers.items() if name != "content-length"}
        return await self.http.request(grant.method, grant.url, content=body, headers=headers)

    async def trip(self, name: str, new: NewUpload, body: bytes) -> Blob:
        """Upload and download."""
        (begun,) = await self.uploader.begin([new])
        if begun.put is not None:
            sent = await self.send(begun.put, body)
            assert sent.status_code == 200, sent.text
        else:
            each = begun.blob.part_size_bytes or 0
            pieces = [body[at : at + each] for at in range(0, len(body), each)]
            asked = [(number, sha(piece)) for number, piece in enumerate(pieces, 1)]
            grants = await self.uploader.sign_parts(begun.blob.id, asked, None)
            for grant, piece in zip(grants, pieces, strict=True):
                sent = await self.send(grant, piece)
                assert sent.status_code == 200, sent.text
        (done,) = await self.completer.complete([(begun.blob.id, None)])
        assert isinstance(done, Blob), done
        ((_, get),) = await self.keeper.lend([Wanted(done.id)], None)
        assert (await self.send(get)).content == body
        return done


@asynccontextmanager
async def client_of(folder: Path, environ: dict[str, str]) -> AsyncIterator[Client]:
    settings = Settings.from_environment(environ)
    assert isinstance(settings.storage, S3Prefix)
    place = s3_place(settings, settings.storage)
    database = await SqliteDatabase.open(folder / "asgard.sqlite3")
    table = SqliteBlobs(database)

    def clock() -> datetime:
        return datetime.now(UTC)

    async with AsyncExitStack() as stack:
        grants = S3Grants(place, await s3_signer(settings, lambda: clock().timestamp(), stack))
        held = S3Bytes(place, stack.enter_context(ThreadPoolExecutor(4)))
        stack.push_async_callback(held.close)
        yield Client(
            Uploader(table, held, grants, clock),
            Completer(table, held, clock),
            Keeper(table, held, grants, clock),
            await stack.enter_async_context(httpx.AsyncClient(timeout=60)),
        )
    await database.close()


def environ_of(store: Store, **settings: str) -> dict[str, str]:
    return {
        "ASGARD_STORAGE": f"s3://{store.bucket()}/some/prefix",
        "ASGARD_S3_ENDPOINT": store.endpoint,
        "ASGARD_S3_ACCESS_KEY": ACCESS_KEY,
        "ASGARD_S3_SECRET_KEY": SECRET_KEY,
        **settings,
    }


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("AWS_", "ASGARD_S3"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(limits, "SINGLE_BYTES", 1 << 20)
    monkeypatch.setattr(parts, "FEW_PART_BYTES", 5 << 20)


@pytest.fixture
def encrypting() -> Iterator[Store]:
    key = base64.b64encode(bytes(range(32))).decode()
    store = minio.another(MINIO_KMS_SECRET_KEY=f"{KMS_KEY}:{key}")
    yield store
    store.remove()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"ASGARD_S3_ENCRYPTION": "AES256"}, {"ServerSideEncryption": "AES256"}),
        (
            {"ASGARD_S3_ENCRYPTION": "aws:kms", "ASGARD_S3_KMS_KEY_ID": KMS_KEY},
            {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": f"arn:aws:kms:{KMS_KEY}"},
        ),
    ],
)
async def test_every_object_is_encrypted_as_asked(
    encrypting: Store, tmp_path: Path, settings: dict[str, str], said: dict[str, str]
) -> None:
    environ = environ_of(encrypting, **settings)
    large = os.urandom((5 << 20) + 10)
    async with client_of(tmp_path, environ) as client:
        ways = [
            (NewUpload(name="checked", size_bytes=len(BODY), sha256=sha(BODY)), BODY),
            (NewUpload(name="plain"), BODY),
            (NewUpload(name="parts", size_bytes=len(large), sha256=sha(large)), large),
        ]
        done = [await client.trip(new.name, new, body) for new, body in ways]
        done.append(await client.keeper.write(NewUpload(name="inline"), BODY))
        done.append(await client.keeper.copy(done[0].id, "copied"))
    place = s3_place(read := Settings.from_environment(environ), _prefix(read))
    objects = Objects(place)
    await objects.create("runs/r.json", b"{}")
    objects.close()
    keys = [*(blob.key for blob in done), "runs/r.json"]
    for key in keys:
        head = encrypting.client().head_object(Bucket=place.bucket, Key=place.key(key))
        assert {name: head.get(name) for name in said} == said, key
    # What a URL is signed with cannot be left out.
    async with client_of(tmp_path, environ) as client:
        (begun,) = await client.uploader.begin(
            [NewUpload(name="n", size_bytes=1, sha256=sha(b"x"))]
        )
        assert begun.put is not None
        bare = {k: v for k, v in begun.put.headers.items() if "encryption" not in k}
        bare.pop("content-length")
        refused = await client.http.put(begun.put.url, content=b"x", headers=bare)
        assert refused.status_code in (400, 403)


def _prefix(settings: Settings) -> S3Prefix:
    assert isinstance(settings.storage, S3Prefix)
    return settings.storage


def test_a_key_without_its_encryption_is_refused() -> None:
    with pytest.raises(SettingError, match="ASGARD_S3_KMS_KEY_ID"):
        Settings.from_environment({"ASGARD_S3_KMS_KEY_ID": "k"})


async def test_a_store_of_another_region_is_asked_in_its_own(tmp_path: Path) -> None:
    store = minio.another(MINIO_SITE_REGION="eu-central-1")
    try:
        client = boto3.client(
            "s3",
            endpoint_url=store.endpoint,
            region_name="eu-central-1",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
        )
        client.create_bucket(
            Bucket="far", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
        )
        environ = {
            "ASGARD_STORAGE": "s3://far/away",
            "ASGARD_S3_ENDPOINT": store.endpoint,
            "ASGARD_S3_ACCESS_KEY": ACCESS_KEY,
            "ASGARD_S3_SECRET_KEY": SECRET_KEY,
        }
        new = NewUpload(name="n", size_bytes=len(BODY), sha256=sha(BODY))
        async with client_of(tmp_path, environ | {"ASGARD_S3_REGION": "eu-central-1"}) as there:
            await there.trip("n", new, BODY)
        async with client_of(tmp_path, environ) as elsewhere:
            (begun,) = await elsewhere.uploader.begin([NewUpload(name="m")])
            assert begun.put is not None
            refused = await elsewhere.send(begun.put, BODY)
            assert refused.status_code in (400, 403)
    finally:
        store.remove()


def lent(store: Store) -> dict[str, Any]:
    sts = boto3.client(
        "sts",
        endpoint_url=store.endpoint,
        region_name="us-east-1",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
    )
    answer = sts.assume_role(RoleArn="arn:xxx:xxx:xxx:xxxx", RoleSessionName="tests")
    credentials: dict[str, Any] = answer["Credentials"]
    return credentials


async def test_credentials_with_a_token_sign_and_are_asked_for_anew_before_they_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = minio.server()
    said = tmp_path / "credentials.json"

    def rotate(for_s: float) -> str:
        now = lent(store)
        until = datetime.now(UTC) + timedelta(seconds=for_s)
        made = said.with_suffix(".new")
        made.write_text(
            json.dumps(
                {
                    "Version": 1,
                    "AccessKeyId": now["AccessKeyId"],
                    "SecretAccessKey": now["SecretAccessKey"],
                    "SessionToken": now["SessionToken"],
                    "Expiration": until.isoformat(),
                }
            )
        )
        made.replace(said)
        return str(now["AccessKeyId"])

    # As a machine's role does: a program that is asked again when what it said is about to end.
    program = f"{sys.executable} -c \"print(open('{said}').read())\""
    (tmp_path / "config").write_text(f"[default]\ncredential_process = {program}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setattr(s3_keys, "RENEW_S", 0.1)
    # About to end, for botocore, which asks again each time from ten minutes before. That
    # starts the program some ten times until here: in a minute a busy machine does not come so far.
    first = rotate(540)
    environ = environ_of(store)
    del environ["ASGARD_S3_ACCESS_KEY"], environ["ASGARD_S3_SECRET_KEY"]
    async with client_of(tmp_path, environ) as client:
        new = NewUpload(name="one", size_bytes=len(BODY), sha256=sha(BODY))
        (begun,) = await client.uploader.begin([new])
        assert begun.put is not None
        assert f"X-Amz-Credential={first}" in begun.put.url
        assert "X-Amz-Security-Token=" in begun.put.url
        assert (await client.send(begun.put, BODY)).status_code == 200
        second = rotate(3_600)
        (done,) = await client.completer.complete([(begun.blob.id, None)])
        assert isinstance(done, Blob), done

        async def by_second() -> Grant | None:
            ((_, get),) = await client.keeper.lend([Wanted(done.id)], None)
            return get if f"X-Amz-Credential={second}" in get.url else None

        get = await eventually(by_second)
        assert (await client.send(get)).content == BODY
        # Without its token a key that was lent is nobody's.
        bare = "&".join(
            pair for pair in get.url.split("&") if not pair.startswith("X-Amz-Security-Token")
        )
        assert (await client.http.get(bare)).status_code == 403


def test_checksums_go_along_as_every_aws_tool_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def config() -> tuple[str, str]:
        made = Connection(parse_url("s3://bucket/prefix")).client().meta.config
        return made.request_checksum_calculation, made.response_checksum_validation

    assert config() == ("when_required", "when_required")
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "WHEN_SUPPORTED")
    monkeypatch.setenv("AWS_RESPONSE_CHECKSUM_VALIDATION", "when_supported")
    assert config() == ("when_supported", "when_supported")
    monkeypatch.setenv("AWS_RESPONSE_CHECKSUM_VALIDATION", "sometimes")
    with pytest.raises(InvalidFieldError, match="AWS_RESPONSE_CHECKSUM_VALIDATION"):
        config()


async def test_a_machine_without_credentials_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    environ = environ_of(minio.server())
    del environ["ASGARD_S3_ACCESS_KEY"], environ["ASGARD_S3_SECRET_KEY"]
    with pytest.raises((SettingError, StorageUnavailableError), match="ASGARD_S3_ACCESS_KEY"):
        async with client_of(tmp_path, environ):
            pytest.fail("it opened")
