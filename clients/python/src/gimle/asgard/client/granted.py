"""Large arrays on their own way: straight to and from the store behind a service.

The service lends single requests; bytes never pass it. Where nobody lends, or the store cannot
be reached from here, arrays go through the service in pieces.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gimle.asgard.client.granted_downloads import Source, read
from gimle.asgard.client.granted_uploads import Upload, large_arrays, naming
from gimle.asgard.client.outgoing import Outgoing
from gimle.asgard.core.documents import ResultDocument
from gimle.asgard.core.errors import (
    DigestMismatchError,
    GrantsUnavailableError,
    StorageFullError,
    UnknownMethodError,
    UploadEndedError,
    UploadIncompleteError,
)
from gimle.asgard.core.growth import grows_on_second_axis
from gimle.asgard.transfer import RefusedError, TransferError, TransferStoppedError
from gimle.asgard.v1 import run_service_pb2 as pb

if TYPE_CHECKING:
    from gimle.asgard.client.connection import Connection

_log = logging.getLogger("gimle.asgard")

_SAVING = ("AddResult", "SaveRun", "AppendResult")

GRANTS_LOST = (UploadEndedError, UploadIncompleteError, DigestMismatchError)
"""What the service says of arrays that are not in the store as they were sent."""


class GrantedArrays:
    """Moves the large arrays of one connection's calls. Thread-safe."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._told = False
        self._unavailable = False

    # To the store

    def sent(self, call: Outgoing, patience: float | None) -> Outgoing | None:
        """Put the large arrays of a call into the store; answer the call that names them.

        None when they have to go with the call. Raises as calls do.
        """
        if self._unavailable or call.method not in _SAVING:
            return None
        large = large_arrays(call, self._grows_on_second_axis)
        if not large:
            return None
        try:
            uploaded = Upload(self._connection, call, large, patience).done()
        except UnknownMethodError:
            self._unavailable = True  # a service of before: so it has always been
            return None
        except GrantsUnavailableError as error:
            self._tell(str(error))
            self._unavailable = True
            return None
        except TransferStoppedError:
            raise
        except TransferError as error:
            if isinstance(error, RefusedError) and error.full:
                raise StorageFullError(self._connection.place) from error
            self._tell(
                f"{error}; let this machine reach the store by the address that URLs are signed "
                "for (ASGARD_S3_PUBLIC_ENDPOINT of the service)"
            )
            return None
        return None if uploaded is None else naming(call, large, uploaded)

    def _grows_on_second_axis(self, call: Outgoing, new: Any, path: tuple[str, ...]) -> bool:
        """Whether the rows of a field are along its second axis."""
        if call.method != "AppendResult":
            return grows_on_second_axis(new.result_type, path)
        if not grows_on_second_axis("StochasticEnsemble", path):
            return False
        request = pb.GetResultRequest(result_id=new.result_id)
        stored = self._connection.call("GetResult", request).result
        return grows_on_second_axis(stored.result_type, path)

    def _tell(self, why: str) -> None:
        if not self._told:
            self._told = True
            place = self._connection.place
            _log.warning("large arrays go through the service %s: %s", place, why)

    # From the store

    def fetched(self, result: ResultDocument, nbytes: int) -> ResultDocument | None:
        """A result with its arrays in the place of references; those above 1 MiB are mapped files.

        The files have no name and go with the arrays. None when it has to be read through the
        service. Raises as calls do.
        """
        if self._unavailable:
            return None
        source = Source(self._connection, result.id)
        try:
            message = source.ask()
            tell = self._connection.telling("down", result.id, nbytes, self._connection.attempts())
            with tempfile.TemporaryDirectory(prefix="asgard-") as folder:
                return read(result, message.downloads, source, Path(folder), nbytes, tell)
        except UnknownMethodError:
            self._unavailable = True
        except GrantsUnavailableError as error:
            self._tell(str(error))
            self._unavailable = True
        except StorageFullError:
            raise
        except TransferStoppedError:
            raise
        except TransferError as error:
            # It may also have grown meanwhile, where files are not written once.
            _log.info("%s is read through the service: %s", result.id, error)
        return None
