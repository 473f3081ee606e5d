#!/opt/asgard/bin/python
"""Make the bucket that ASGARD_STORAGE names, where it is missing.

For development: waits until the store answers, for two minutes at most. In production the bucket
is made once, by somebody who may (docs/operate/minio.md), and Asgard's own key may not make any.
"""

from __future__ import annotations

import os
import sys
import time

import boto3
from asgard_server.settings import S3Prefix, Settings
from botocore.client import Config
from botocore.exceptions import BotoCoreError, ClientError

WAITED_SECONDS = 120.0
MADE = ("BucketAlreadyOwnedByYou", "BucketAlreadyExists")


def make(settings: Settings, bucket: str) -> None:
    """Make a bucket. Raises botocore's errors."""
    client = boto3.client(
        "s3",
        endpoint_url=settings.s3_url,
        region_name=settings.s3_region,
        aws_access_key_id=settings.s3_access_key,
        aws_secret_access_key=settings.s3_secret_key,
        config=Config(connect_timeout=5, read_timeout=10, retries={"max_attempts": 1}),
    )
    try:
        client.create_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] not in MADE:
            raise


def _status(error: ClientError) -> int:
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])


def main() -> int:
    """Make it; answer the exit status."""
    settings = Settings.from_environment(os.environ)
    if not isinstance(settings.storage, S3Prefix):
        print(f"{settings.storage} is a folder: it needs no bucket")
        return 0
    bucket = settings.storage.bucket
    deadline = time.monotonic() + WAITED_SECONDS
    while True:
        try:
            make(settings, bucket)
        except (BotoCoreError, ClientError) as error:
            refused = isinstance(error, ClientError) and _status(error) == 403
            if refused or time.monotonic() > deadline:
                print(f"the bucket {bucket} could not be made: {error}", file=sys.stderr)
                return 1
            time.sleep(1)
        else:
            print(f"the bucket {bucket} is there")
            return 0


if __name__ == "__main__":
    sys.exit(main())
