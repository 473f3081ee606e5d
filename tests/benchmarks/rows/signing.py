"""Presigned URLs in a second of CPU, against botocore's generate_presigned_url beside it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import boto3
from botocore.config import Config
from gimle.asgard.core.signing import Credentials, Endpoint, Signer

from tests.benchmarks.figures import Bench, Figure, median, share

LEAST = 40
ENDPOINT, BUCKET = "http://127.0.0.1:9000", "simswarm"
ACCESS_KEY, SECRET_KEY = "someone", "a secret for nobody"
EXPIRES_S = 3_600


def measure(bench: Bench) -> list[Figure]:
    """URLs to read, each of another key; ours and theirs in turns, the medians of the rounds."""
    client = _their_client()
    signer = Signer(Endpoint.parse(ENDPOINT), Credentials(ACCESS_KEY, SECRET_KEY))

    def ours(number: int) -> None:
        signer.presign("GET", BUCKET, f"sim-data/{number}/posts.json", EXPIRES_S)

    def theirs(number: int) -> None:
        wanted = {"Bucket": BUCKET, "Key": f"sim-data/{number}/posts.json"}
        client.generate_presigned_url("get_object", wanted, EXPIRES_S)

    rates = [(_rate(ours, 100_000), _rate(theirs, 2_000)) for _ in range(bench.few(5, 3))]
    bench.say(f"  ours {[round(each) for each, _ in rates]}")
    return [
        share(
            "presigned URLs, against botocore's generate_presigned_url",
            median([each for each, _ in rates]),
            median([each for _, each in rates]),
            LEAST,
            "URLs/s",
        )
    ]


def _rate(sign: Callable[[int], None], many: int) -> float:
    began = time.process_time()
    for number in range(many):
        sign(number)
    return many / (time.process_time() - began)


def _their_client() -> Any:
    return boto3.client(
        "s3",
        endpoint_url=ENDPOINT,
        region_name="us-east-1",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )
