"""What a service refuses is raised as what it is, and what fails in passing is repeated."""

from __future__ import annotations

import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from asgard_server.rpc.errors import failure
from gimle.asgard import AsgardStorage
from gimle.asgard.client import errors as table
from gimle.asgard.client.attempts import pause_before
from gimle.asgard.client.connection import Connection
from gimle.asgard.client.errors import raised_by
from gimle.asgard.core import access_errors, asset_errors, errors, experiment_errors, job_errors
from gimle.asgard.core.errors import (
    DeletedError,
    InvalidFieldError,
    RequestTooLargeError,
    StorageUnavailableError,
)
from gimle.asgard.v1 import error_reason_pb2
from gimle.asgard.v1 import run_service_pb2 as pb

from tests.conftest import free_port
from tests.sdk.homes import a_grpc_service

RAISED: list[Exception] = [
    errors.InvalidFieldError("name", "is empty; really", "give it a name"),
    errors.StorageFullError("grpc://there:1"),
    errors.StorageFullError("grpc://there:1", "large.bin", 2_000, 0),
    errors.NotFoundError("run", "r"),
    errors.NotFoundError("result", "r"),
    errors.AlreadyExistsError("run", "r"),
    errors.AlreadyExistsError("result", "r"),
    errors.DeletedError("r", datetime(2026, 1, 2, 3, 4, 5, 6, UTC)),
    errors.EtagMismatchError("e"),
    errors.LengthMismatchError(7),
    errors.CannotAppendError("r", "it is round"),
    errors.RequestTooLargeError(5),
    errors.DocumentError("r", "it is torn"),
    errors.PageTokenMismatchError("of another list"),
    errors.ResumeTokenUnusableError("too old"),
    errors.WatcherTooSlowError("too slow"),
    errors.StoppingError("stopping"),
    errors.NotFoundError("job", "7"),
    job_errors.NotYoursError(7),
    job_errors.ServiceCallersOnlyError(),
    job_errors.DemoModeError(),
    job_errors.SeedTooLongError(60_000, 50_000),
    job_errors.DuplicateJobError(7),
    job_errors.JobStateError(7, "failed", "only a draft can be changed"),
    job_errors.JobNotRetryableError(7, "failed", 8),
    job_errors.JobClaimedError(7, datetime(2026, 1, 2, 3, 4, 5, 6, UTC)),
    job_errors.LeaseLostError(7),
    experiment_errors.ExperimentStateError("e", "open", "commit it first", "the variation e/0"),
    experiment_errors.ExperimentRetractedError("e", "wrong data", "make another"),
    experiment_errors.AlreadyConcludedError("e", "a"),
    experiment_errors.VariationRunStateError("r", "succeeded", "it has ended"),
    experiment_errors.RunLeaseLostError("r"),
    experiment_errors.WandbPartialTripleError("wandb_entity"),
    errors.NotFoundError("experiment", "e"),
    errors.NotFoundError("variation", "e/0"),
    job_errors.SimDataUploadFailedError(7, ("posts.json", "trades.json")),
    job_errors.SimDataNotAvailableError(7),
    job_errors.ObjectStorageNotConfiguredError(),
    job_errors.ReportNotAvailableError(7),
    job_errors.ShareNotFoundError(),
    access_errors.UnauthenticatedError(),
    access_errors.TokenExpiredError(),
    access_errors.ForbiddenError("not yours"),
    access_errors.NotAMemberError("t/ml"),
    access_errors.LastAdministratorError("o/acme", "@alice"),
    access_errors.InUseError("o/acme", {"teams": 2, "assets": 1_000}),
    *(
        errors.NotFoundError(kind, "x1")
        for kind in ("user", "organization", "team", "key", "principal", "asset")
    ),
    asset_errors.AssetStateError("a1", "abandoned", "make a new one"),
    asset_errors.AssetIncompleteError("a1", ["x/y", "z"]),
    asset_errors.NotAwaitingReviewError("a1"),
    asset_errors.AssetLinkedError("a1", {"experiment_input_assets": 2}),
    asset_errors.AssetInvalidatedError("a1", "wrong data"),
    asset_errors.AssetOrgMismatchError("e1", "org_1"),
    asset_errors.NoPreviewError("a1", "it is no text"),
    asset_errors.ComponentNotFoundError("a1", "x/y"),
]


class Ended:
    """A call as it ended at a client, made of what the server's own table sends."""

    def __init__(self, code: Any, details: str, metadata: Any) -> None:
        self.code, self.details = lambda: code, lambda: details
        self.trailing_metadata = lambda: metadata


def ended(error: Exception) -> Ended:
    status = failure(error, "request").status
    return Ended(status.code, status.details, status.trailing_metadata)


@pytest.mark.parametrize("error", RAISED, ids=lambda error: f"{type(error).__name__} {error}")
def test_what_the_service_raised_is_raised_again(error: Exception) -> None:
    again = raised_by(ended(error), "grpc://there:1")
    assert type(again) is type(error)
    assert (str(again), vars(again)) == (str(error), vars(error))


def test_trouble_of_the_place_names_the_service_too() -> None:
    gone = raised_by(ended(errors.StorageUnavailableError("/data", "mount it")), "grpc://there:1")
    assert str(gone) == "the storage /data of grpc://there:1 is not available: mount it"
    kept = raised_by(ended(errors.StorageReadOnlyError("/data", "mount it")), "grpc://there:1")
    assert isinstance(kept, PermissionError)
    assert str(kept) == "the storage /data of grpc://there:1 may only be read: mount it"
    full = raised_by(ended(errors.StorageFullError("/data")), "grpc://there:1")
    assert isinstance(full, errors.StorageFullError)
    defect = raised_by(ended(RuntimeError("secret")), "grpc://there:1")
    assert type(defect) is errors.ServiceError
    assert "request request" in str(defect)


def test_every_reason_has_a_row() -> None:
    names = {
        name.removeprefix("ERROR_REASON_")
        for name, number in error_reason_pb2.ErrorReason.items()
        if number
    }
    assert names == set(table._REASONS)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, errors.StorageUnavailableError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, errors.StorageUnavailableError),
        (grpc.StatusCode.UNKNOWN, errors.StorageUnavailableError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, errors.RequestTooLargeError),
        (grpc.StatusCode.UNIMPLEMENTED, errors.UnknownMethodError),
        (grpc.StatusCode.PERMISSION_DENIED, errors.ServiceError),
    ],
)
def test_what_comes_from_the_way_there_is_told_from_the_service(
    code: grpc.StatusCode, kind: type[Exception]
) -> None:
    assert type(raised_by(Ended(code, "words", ()), "grpc://there:1")) is kind


def test_pauses_grow_to_a_bound_and_are_not_the_same_for_all() -> None:
    pauses = [[pause_before(number) for _ in range(50)] for number in (1, 3, 40)]
    assert max(pauses[0]) < min(pauses[1]) < max(pauses[1]) < min(pauses[2])
    assert max(pauses[2]) <= 2.0
    assert all(len(set(some)) > 40 for some in pauses)


def test_a_server_that_is_not_there_is_asked_for_as_long_as_patience_lasts() -> None:
    connection = Connection(f"grpc://127.0.0.1:{free_port()}", patience=1.0)
    made: list[int] = []

    def ask() -> None:
        for attempt in connection.attempts():
            with attempt:
                made.append(attempt.number)
                connection.call("GetRun", pb.GetRunRequest(run_id="r"), patience=0)

    began = time.monotonic()
    with pytest.raises(StorageUnavailableError, match=f"{connection.place} .*address right"):
        ask()
    assert 0.3 < time.monotonic() - began < 12
    assert made == list(range(len(made)))
    assert len(made) > 2


def test_what_listens_there_and_is_no_service_is_said_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        connection = Connection(f"grpc://127.0.0.1:{port}", patience=0.0, timeout=1.0)
        with pytest.raises(StorageUnavailableError, match=str(port)):
            connection.call("GetRun", pb.GetRunRequest(run_id="r"))


def test_the_service_has_limits_that_are_said_before_or_by_it(tmp_path: Path) -> None:
    with a_grpc_service(tmp_path) as home:
        storage = home.open()
        run = storage.create_run("r")
        with pytest.raises(RequestTooLargeError, match=r"67,108,864 bytes; send .* by append"):
            storage.add_result(run, "T", {"x": "x" * 70_000_000})
        with pytest.raises(InvalidFieldError, match=r"^name: has 501 characters; "):
            storage.create_run("n" * 501)
        with pytest.raises(InvalidFieldError, match=r"^status: "):
            storage.update_run(run, status="pending")
        with pytest.raises(InvalidFieldError, match=r"^result_type: "):
            storage.add_result(run, "two\nlines", {})
        storage.delete_run(run)
        with pytest.raises(DeletedError):
            storage.create_run("again", id=run.id)
        assert AsgardStorage(tmp_path).list_runs() == []
