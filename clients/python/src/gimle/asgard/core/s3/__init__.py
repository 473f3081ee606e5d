"""Storages in S3: `s3://bucket/prefix`, on Amazon's or any other store that speaks S3."""

from __future__ import annotations

from importlib.util import find_spec

if find_spec("boto3") is None:
    raise ModuleNotFoundError(
        "storages in S3 need boto3: pip install 'gimle-asgard[s3]'", name="boto3"
    )
