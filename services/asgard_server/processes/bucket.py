"""`asgard blob init`: a bucket made fit for signed URLs, step by step, as often as one likes.

Others' rules in the bucket stay. What its store does not know is said and passed over; what the
key may not do is said with the statement that its policy lacks.
"""

from __future__ import annotations

import http.client
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError
from gimle.asgard.core.s3.objects import translated
from gimle.asgard.core.s3.place import Connection, Place

Outcome = Literal["there", "made", "missing", "refused", "not known to this store"]

# A day longer than BlobService itself waits for an upload.
UNFINISHED_DAYS = 8
CORS_ID, LIFECYCLE_ID = "asgard", "asgard-unfinished-uploads"

_TIMEOUT_S = 10.0
_DENIED = {"AccessDenied", "403", "Forbidden", "AllAccessDisabled"}
_WRONG_KEY = {"InvalidAccessKeyId", "SignatureDoesNotMatch"}
# What stores answer to a well-formed request for what they do not have.
_UNKNOWN = {"NotImplemented", "MethodNotAllowed", "InvalidArgument", "MalformedXML", "501", "405"}
_NO_RULES = {"NoSuchCORSConfiguration", "NoSuchLifecycleConfiguration"}
_HEADERS = "content-type,if-none-match,x-amz-checksum-sha256"
_OF_CORS = (
    "where it has a setting of its own for all buckets, give it these origins (MinIO:"
    " MINIO_API_CORS_ALLOW_ORIGIN)"
)
_OF_LIFECYCLE = (
    "it keeps what killed uploads leave, or has a time of its own for it: MinIO removes them after"
    " MINIO_API_STALE_UPLOADS_EXPIRY, a day, which also ends uploads that take longer (set 192h)"
)


@dataclass(frozen=True, slots=True)
class Step:
    """Something the bucket needs, and how it stands with it.

    `problem` and `mend` say why it is not so; `statement` is what the key's policy lacks for it.
    """

    name: str
    outcome: Outcome
    problem: str = ""
    mend: str = ""
    statement: dict[str, Any] = field(default_factory=dict)


class _RefusedError(Exception):
    """The key may not do it. Carries the store's words."""


class _UnknownError(Exception):
    """The store has no such thing. Carries its answer."""


class Preparing:
    """The steps for one place. `address`: where clients reach the store, for pages' requests."""

    def __init__(
        self, place: Place, origins: Sequence[str], address: str | None, *, dry_run: bool
    ) -> None:
        self._place = place
        self._origins = list(origins)
        self._address = address
        self._dry_run = dry_run
        self._client = Connection(place).client()

    def run(self) -> list[Step]:
        """Take all steps. Raises `StorageUnavailableError` when the store cannot be asked."""
        bucket = self._bucket()
        if bucket.outcome in ("missing", "refused"):
            return [bucket]
        steps = [bucket, self._lifecycle()]
        if self._origins:
            steps.append(self._cors())
            if not self._dry_run:
                steps += [self._preflight(origin) for origin in self._origins]
        return steps

    def _ask(self, call: str, **more: Any) -> Any:
        try:
            return getattr(self._client, call)(Bucket=self._place.bucket, **more)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            said = error.response.get("Error", {}).get("Message") or code
            if code in _WRONG_KEY:
                raise translated(self._place, error) from error
            if code in _UNKNOWN or status == 501:
                raise _UnknownError(f"it answers {status} {code}") from error
            if code in _DENIED or status == 403:
                raise _RefusedError(f"{said} ({code})") from error
            raise
        except BotoCoreError as error:
            raise translated(self._place, error) from error

    # The bucket ---------------------------------------------------------------------------

    def _bucket(self) -> Step:
        try:
            # Not HEAD, whose refusal has no words: a wrong key is not a missing permission.
            self._ask("list_objects_v2", MaxKeys=1, Prefix=self._place.key(""))
        except _RefusedError as error:
            return self._refused("bucket", f"it may not be looked at: {error}", "s3:ListBucket")
        except ClientError as error:
            if str(error.response["Error"]["Code"]) != "NoSuchBucket":
                raise translated(self._place, error) from error
        else:
            return Step("bucket", "there")
        if self._dry_run:
            return Step("bucket", "missing")
        return self._make()

    def _make(self) -> Step:
        region = self._client.meta.region_name
        where = {} if region in (None, "us-east-1") else {"LocationConstraint": region}
        try:
            self._ask("create_bucket", **({"CreateBucketConfiguration": where} if where else {}))
        except _RefusedError as error:
            return self._refused("bucket", f"it may not be made: {error}", "s3:CreateBucket")
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code == "BucketAlreadyOwnedByYou":  # somebody else of ours was faster
                return Step("bucket", "there")
            if code == "BucketAlreadyExists":
                problem = f"somebody else has a bucket of the name {self._place.bucket}"
                return Step("bucket", "refused", problem, "give another name in ASGARD_STORAGE")
            raise translated(self._place, error) from error
        return Step("bucket", "made")

    # Rules --------------------------------------------------------------------------------

    def _lifecycle(self) -> Step:
        rule = {
            "ID": LIFECYCLE_ID,
            "Status": "Enabled",
            "Filter": {"Prefix": self._place.key("")},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": UNFINISHED_DAYS},
        }

        def put(rules: list[Any]) -> None:
            self._ask("put_bucket_lifecycle_configuration", LifecycleConfiguration={"Rules": rules})

        actions = ("s3:GetLifecycleConfiguration", "s3:PutLifecycleConfiguration")
        return self._rule(
            *("lifecycle", "get_bucket_lifecycle_configuration", "Rules", rule, put),
            actions=actions,
            without=_OF_LIFECYCLE,
        )

    def _cors(self) -> Step:
        rule = {
            "ID": CORS_ID,
            "AllowedOrigins": self._origins,
            "AllowedMethods": ["GET", "HEAD", "PUT"],
            "AllowedHeaders": ["*"],
            "ExposeHeaders": ["ETag", "Content-Range", "x-amz-checksum-sha256"],
            "MaxAgeSeconds": 3600,
        }

        def put(rules: list[Any]) -> None:
            self._ask("put_bucket_cors", CORSConfiguration={"CORSRules": rules})

        return self._rule(
            *("CORS", "get_bucket_cors", "CORSRules", rule, put),
            actions=("s3:GetBucketCORS", "s3:PutBucketCORS"),
            without=_OF_CORS,
        )

    def _rule(
        self,
        name: str,
        get: str,
        key: str,
        rule: dict[str, Any],
        put: Callable[[list[Any]], None],
        *,
        actions: Sequence[str],
        without: str,
    ) -> Step:
        """Let our rule stand among others', which stay as they are."""
        try:
            there = self._rules(get, key)
            others = [each for each in there if each.get("ID") != rule["ID"]]
            if rule in there or any(_same(each, rule) for each in there):
                return Step(name, "there")
            if self._dry_run:
                return Step(name, "missing")
            put([*others, rule])
        except _RefusedError as error:
            return self._refused(name, str(error), *actions)
        except _UnknownError as error:
            return Step(name, "not known to this store", str(error), without)
        except ClientError as error:
            raise translated(self._place, error) from error
        return Step(name, "made")

    def _rules(self, get: str, key: str) -> list[Any]:
        try:
            return list(self._ask(get).get(key, ()))
        except ClientError as error:
            if error.response["Error"]["Code"] in _NO_RULES:
                return []
            raise

    def _refused(self, name: str, problem: str, *actions: str) -> Step:
        statement = {
            "Effect": "Allow",
            "Action": list(actions),
            "Resource": [f"arn:aws:s3:::{self._place.bucket}"],
        }
        mend = "add this statement to the policy of its key, or let somebody run this who may"
        return Step(name, "refused", problem, mend, statement)

    # What pages will meet -----------------------------------------------------------------

    def _preflight(self, origin: str) -> Step:
        """Ask as a browser would that is about to upload from a page of `origin`."""
        name = f"pages of {origin}"
        at = urlsplit(self._address or self._client.meta.endpoint_url)
        kind = http.client.HTTPSConnection if at.scheme == "https" else http.client.HTTPConnection
        connection = kind(at.netloc, timeout=_TIMEOUT_S)
        asked = {
            "Origin": origin,
            "Access-Control-Request-Method": "PUT",
            "Access-Control-Request-Headers": _HEADERS,
        }
        path = f"{at.path}/{self._place.bucket}/{self._place.key('blobs/')}"
        try:
            connection.request("OPTIONS", path, headers=asked)
            answer = connection.getresponse()
            allowed = answer.headers.get("Access-Control-Allow-Origin", "")
        except (OSError, http.client.HTTPException) as error:
            problem = f"{at.scheme}://{at.netloc} cannot be asked: {error}"
            mend = "check ASGARD_S3_PUBLIC_ENDPOINT and the proxy there"
            return Step(name, "refused", problem, mend)
        finally:
            connection.close()
        if answer.status < 300 and allowed in ("*", origin):
            return Step(name, "there")
        problem = f"{at.scheme}://{at.netloc} answers a browser's OPTIONS with {answer.status}"
        if answer.status < 300:
            problem += " and without this origin"
        return Step(name, "refused", problem, f"let the store allow the origin: {_OF_CORS}")


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two rules say the same; some stores keep no ID."""
    return {**one, "ID": other["ID"]} == other


def prepare(
    place: Place, origins: Sequence[str], address: str | None, *, dry_run: bool = False
) -> list[Step]:
    """Make the bucket of `place` and its rules, or with `dry_run` say what is missing.

    Raises `StorageUnavailableError` when the store cannot be asked or knows the key not.
    """
    return Preparing(place, origins, address, dry_run=dry_run).run()
