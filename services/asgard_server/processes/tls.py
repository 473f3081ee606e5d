"""The certificates that settings name."""

from __future__ import annotations

from asgard_server.rpc.credentials import CertificateFiles, Certificates
from asgard_server.settings import Settings


def certificates_of(settings: Settings) -> Certificates | None:
    """The certificates of this process; None where it speaks without TLS.

    Raises `CertificateError` when they cannot be used.
    """
    files = CertificateFiles(settings.tls_cert_file, settings.tls_key_file, settings.tls_ca_file)
    return Certificates(files) if files else None
