"""`asgard blob init` on real stores: what it makes, what it says that it may not or cannot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import boto3
import pytest

from tests.conftest import free_port
from tests.engines import minio, s3_store, versitygw
from tests.engines.s3_store import Store

COMMAND = [sys.executable, "-m", "gimle.asgard.cli", "blob", "init"]
STORES: dict[str, Callable[[], Store]] = {"minio": minio.server, "versitygw": versitygw.server}
PAGE = "https://lab.example.org"


class Init:
    """The command, for a bucket of one store."""

    def __init__(self, store: Store, bucket: str) -> None:
        self.store = store
        self.bucket = bucket
        self.variables = store.variables

    def __call__(self, *arguments: str, status: int = 0, **variables: Any) -> dict[str, Any]:
        said = self.said(*arguments, "--json", status=status, **variables)
        answer: dict[str, Any] = json.loads(said.stdout)
        answer["outcomes"] = {step["name"]: step["outcome"] for step in answer["steps"]}
        return answer

    def said(
        self, *arguments: str, status: int, **variables: Any
    ) -> subprocess.CompletedProcess[str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("ASGARD_", "AWS_"))}
        done = subprocess.run(
            [*COMMAND, "--storage", f"s3://{self.bucket}/some/prefix", *arguments],
            env={**clean, **self.variables, **variables},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == status, done.stdout + done.stderr
        return done


@pytest.fixture(params=list(STORES))
def init(request: pytest.FixtureRequest) -> Init:
    return Init(STORES[request.param](), f"init-{request.param}-{os.getpid()}-{free_port()}")


def with_policy(store: Store, *statements: dict[str, Any]) -> dict[str, Any]:
    """Credentials with a session token, that may only what the statements say."""
    sts = boto3.client(
        "sts",
        endpoint_url=store.endpoint,
        region_name="us-east-1",
        aws_access_key_id=s3_store.ACCESS_KEY,
        aws_secret_access_key=s3_store.SECRET_KEY,
    )
    policy = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
    lent = sts.assume_role(RoleArn="arn:xxx:xxx:xxx:xxxx", RoleSessionName="tests", Policy=policy)
    return {
        "AWS_ACCESS_KEY_ID": lent["Credentials"]["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": lent["Credentials"]["SecretAccessKey"],
        "AWS_SESSION_TOKEN": lent["Credentials"]["SessionToken"],
    }


def may(*actions: str) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": list(actions), "Resource": ["arn:aws:s3:::*"]}


def test_it_makes_what_the_store_knows_and_a_second_time_nothing(init: Init) -> None:
    first = init("--origin", PAGE)
    assert first["done"] is True
    assert first["outcomes"]["bucket"] == "made"
    assert first["outcomes"][f"pages of {PAGE}"] == "there"
    unknown = "not known to this store"
    minios = init.store is minio.server()
    # MinIO has no CORS rules of buckets, and ends unfinished uploads by a setting of its own;
    # versitygw answers 501 to lifecycles.
    assert first["outcomes"]["lifecycle"] == unknown
    assert first["outcomes"]["CORS"] == (unknown if minios else "made")
    again = init("--origin", PAGE)
    assert again["outcomes"] == {**first["outcomes"], "bucket": "there"} | (
        {} if minios else {"CORS": "there"}
    )
    said = init.said("--origin", PAGE, status=0).stdout
    assert "MINIO_API_STALE_UPLOADS_EXPIRY" in said
    assert ("501" in said) is True


def test_a_dry_run_says_what_is_missing_and_changes_nothing(init: Init) -> None:
    assert init("--dry-run", status=1)["outcomes"] == {"bucket": "missing"}
    names = [each["Name"] for each in init.store.client().list_buckets()["Buckets"]]
    assert init.bucket not in names
    init()
    # It asks what is there: that a store does not know a rule is seen when it is to take it.
    missing = init("--dry-run", "--origin", PAGE, status=1)["outcomes"]
    minios = init.store is minio.server()
    assert missing["CORS"] == "missing"
    assert missing["lifecycle"] == ("missing" if minios else "not known to this store")
    assert init("--dry-run", status=int(minios))["outcomes"]["bucket"] == "there"


def test_rules_of_others_stay(init: Init) -> None:
    if init.store is minio.server():
        assert init("--origin", PAGE)["outcomes"]["CORS"] == "not known to this store"
        return
    init()
    client = init.store.client()
    theirs = {"AllowedOrigins": ["https://other.example"], "AllowedMethods": ["GET"]}
    client.put_bucket_cors(Bucket=init.bucket, CORSConfiguration={"CORSRules": [theirs]})
    assert init(ASGARD_S3_CORS_ORIGINS=PAGE)["outcomes"]["CORS"] == "made"
    rules = client.get_bucket_cors(Bucket=init.bucket)["CORSRules"]
    origins = [rule["AllowedOrigins"] for rule in rules]
    assert sorted(origins) == [[PAGE], ["https://other.example"]]
    # Another origin comes in the place of the one before.
    init("--origin", "https://new.example")
    rules = client.get_bucket_cors(Bucket=init.bucket)["CORSRules"]
    assert ["https://new.example"] in [rule["AllowedOrigins"] for rule in rules]


def test_what_its_key_may_not_is_said_with_the_statement_that_lacks() -> None:
    store = minio.server()
    init = Init(store, f"init-denied-{os.getpid()}-{free_port()}")
    nothing = with_policy(store, may("s3:GetObject"))
    looked = init(status=1, **nothing)
    (step,) = looked["steps"]
    assert (step["name"], step["outcome"]) == ("bucket", "refused")
    assert step["statement"]["Action"] == ["s3:ListBucket"]
    assert step["statement"]["Resource"] == [f"arn:aws:s3:::{init.bucket}"]

    listing = with_policy(store, may("s3:ListBucket"))
    (step,) = init(status=1, **listing)["steps"]
    assert step["statement"]["Action"] == ["s3:CreateBucket"]
    # The mend is true: with the statement it goes on.
    init(**with_policy(store, may("s3:ListBucket"), may("s3:CreateBucket"), may("s3:*Lifecycle*")))

    refused = init(status=1, **listing)
    assert refused["outcomes"] == {"bucket": "there", "lifecycle": "refused"}
    assert refused["steps"][1]["statement"]["Action"] == [
        "s3:GetLifecycleConfiguration",
        "s3:PutLifecycleConfiguration",
    ]
    said = init.said(status=1, **listing).stdout
    assert '"s3:PutLifecycleConfiguration"' in said


def test_a_store_that_allows_other_pages_only_is_found_out() -> None:
    store = minio.another(MINIO_API_CORS_ALLOW_ORIGIN=PAGE)
    try:
        init = Init(store, "pages")
        assert init("--origin", PAGE)["done"] is True
        other = init("--origin", "https://elsewhere.example", status=1)
        step = other["steps"][-1]
        assert (step["outcome"], step["name"]) == ("refused", "pages of https://elsewhere.example")
        assert "MINIO_API_CORS_ALLOW_ORIGIN" in step["mend"]
    finally:
        store.remove()


def test_wrong_words_and_stores_that_are_away_have_their_statuses(init: Init) -> None:
    away = {"ASGARD_S3_ENDPOINT": f"http://127.0.0.1:{free_port()}"}
    assert "is the store running" in init.said(status=3, **away).stderr
    wrong = {"AWS_SECRET_ACCESS_KEY": "wrong-secret-key"}
    assert "credentials" in init.said(status=3, **wrong).stderr
    assert "not an origin" in init.said("--origin", "lab.example.org", status=2).stderr
    # 1 would say that a store has refused something.
    assert "s3://bucket/prefix" in init.said("--storage", "s3://", status=2).stderr
    done = subprocess.run(
        [*COMMAND, "--storage", "a-folder"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, "needs no bucket" in done.stdout) == (0, True)
