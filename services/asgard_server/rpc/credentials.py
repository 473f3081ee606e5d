"""Certificates of servers and of channels, read again when their files change.

Whoever rotates certificates (cert-manager, a cron job) replaces the files; new connections then
use what is in them, and connections that are open go on as they are. Files that do not fit
together, as between two steps of a rotation, change nothing: the last good ones stay in use.
"""

from __future__ import annotations

import ssl
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import structlog

# What the operator calls each file.
CERTIFICATE = "ASGARD_TLS_CERT_FILE"
KEY = "ASGARD_TLS_KEY_FILE"
AUTHORITY = "ASGARD_TLS_CA_FILE"

# How often files that change while they are read are read again.
_READS = 3

_log = structlog.get_logger("asgard.rpc")

_Stamp = tuple[tuple[int, ...] | None, ...]


class CertificateError(ValueError):
    """A file of certificates that cannot be used. Says which `setting`, the problem, the mend."""

    def __init__(self, setting: str, problem: str, mend: str) -> None:
        super().__init__(f"{setting} {problem}; {mend}")
        self.setting = setting


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where the PEM files lie: our certificate with its key, and who signs those of others."""

    certificate: Path | None = None
    key: Path | None = None
    authority: Path | None = None

    def __bool__(self) -> bool:
        return any((self.certificate, self.key, self.authority))


@dataclass(frozen=True, slots=True)
class Contents:
    """What the files hold; None for those that are not given."""

    certificate: bytes | None
    key: bytes | None
    authority: bytes | None


class Certificates:
    """The contents of `files`, the last good ones. Thread-safe.

    Raises `CertificateError` when they cannot be used to begin with.
    """

    def __init__(self, files: CertificateFiles) -> None:
        for given, missing, setting in (
            (files.certificate, files.key, KEY),
            (files.key, files.certificate, CERTIFICATE),
        ):
            if given and not missing:
                raise CertificateError(
                    setting, "is not set", "a certificate and its key are given together"
                )
        self._files = files
        self._lock = threading.Lock()
        self._problem = ""
        self._stamp = self._look()
        self._contents = self._read()
        self._version = 0

    @property
    def version(self) -> int:
        """Grows whenever other contents are in use."""
        return self._version

    def current(self) -> Contents:
        """The contents to use for a new connection. A rotation that cannot be used is logged."""
        with self._lock:
            stamp = self._look()
            if stamp == self._stamp:
                return self._contents
            self._stamp = stamp  # of before the reading: what changes meanwhile is read again
            try:
                contents = self._read()
            except CertificateError as error:
                if str(error) != self._problem:
                    self._problem = str(error)
                    _log.error("certificates_refused", problem=str(error), used="the last good")
                return self._contents
            self._problem = ""
            if contents != self._contents:
                self._contents = contents
                self._version += 1
                _log.info("certificates_rotated", certificate=str(self._files.certificate or ""))
            return self._contents

    def _look(self) -> _Stamp:
        files = self._files
        return tuple(_stamp(path) for path in (files.certificate, files.key, files.authority))

    def _read(self) -> Contents:
        files = self._files
        for _ in range(_READS):
            before = self._look()
            contents = Contents(
                _bytes(files.certificate, CERTIFICATE),
                _bytes(files.key, KEY),
                _bytes(files.authority, AUTHORITY),
            )
            problem = _problem(files, contents)
            if before == self._look():
                if problem is not None:
                    raise problem
                return contents
        raise CertificateError(
            CERTIFICATE, f"{files.certificate} changes while it is read", "replace it by a rename"
        )


def server_credentials(certificates: Certificates) -> grpc.ServerCredentials:
    """What a server shows to those who connect: each time what the files then hold.

    With an authority, clients must show a certificate that it has signed.
    Raises `CertificateError` without a certificate.
    """
    first = certificates.current()
    if first.certificate is None:
        raise CertificateError(
            CERTIFICATE, "is not set", "a server that is given an authority needs its own too"
        )

    def now() -> Any:  # None says that nothing has changed, of which the stubs do not know
        contents = certificates.current()
        # Not only once after a change: each port of a server keeps its own.
        return _configuration(contents) if contents is not first else None

    return grpc.dynamic_ssl_server_credentials(
        _configuration(first), now, require_client_authentication=first.authority is not None
    )


def channel_credentials(contents: Contents) -> grpc.ChannelCredentials:
    """What a channel shows and whom it believes; without an authority, gRPC's own list of them."""
    return grpc.ssl_channel_credentials(
        contents.authority, private_key=contents.key, certificate_chain=contents.certificate
    )


def _configuration(contents: Contents) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(contents.key or b"", contents.certificate or b"")], root_certificates=contents.authority
    )


def _stamp(path: Path | None) -> tuple[int, ...] | None:
    if path is None:
        return None
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev


def _bytes(path: Path | None, setting: str) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise CertificateError(
            setting, f"{path} is not there", "give the path of a PEM file"
        ) from None
    except OSError as error:
        raise CertificateError(
            setting,
            f"{path} cannot be read ({error.strerror})",
            "let the user of this process read it",
        ) from None


def _problem(files: CertificateFiles, contents: Contents) -> CertificateError | None:
    """Why the contents cannot be used together, if so."""
    for path, body, setting in (
        (files.certificate, contents.certificate, CERTIFICATE),
        (files.authority, contents.authority, AUTHORITY),
    ):
        if body is not None and not _is_certificate(body):
            return CertificateError(
                setting, f"{path} holds no certificate", "give one or several in PEM"
            )
    key = contents.key
    if key is None:
        return None
    if b"PRIVATE KEY-----" not in key:
        return CertificateError(KEY, f"{files.key} holds no private key", "give one in PEM")
    if b"ENCRYPTED" in key:
        return CertificateError(
            KEY, f"{files.key} is encrypted", "decrypt it, and let only this process read it"
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(str(files.certificate), str(files.key))
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            return CertificateError(
                KEY,
                f"{files.key} is not the key of {files.certificate}",
                "give the two that were issued together",
            )
        return CertificateError(
            KEY, f"{files.key} cannot be used ({error.reason})", "give a private key in PEM"
        )
    except OSError:  # removed since it was read; the caller looks again
        return CertificateError(KEY, f"{files.key} is not there", "give the path of a PEM file")
    return None


def _is_certificate(body: bytes) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(
            cadata=body.decode("ascii", "ignore")
        )
    except (ssl.SSLError, ValueError):
        return False
    return True
