"""Certificates made when a test runs: an authority, and what it signs."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from asgard_server.rpc.credentials import CertificateFiles
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, in PEM. `name` is the certificate's common name."""

    name: str
    certificate: bytes
    key: bytes

    def write(self, certificate: Path, key: Path) -> None:
        """Put both into their files, each by a rename, as who rotates them does."""
        for path, body in ((certificate, self.certificate), (key, self.key)):
            replace(path, body)


class Authority:
    """Signs certificates for localhost."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        self.certificate = _pem(
            _certificate(self._name, self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def pair(self, name: str) -> Pair:
        """A certificate for localhost whose common name is `name`."""
        key = ec.generate_private_key(ec.SECP256R1())
        addresses: list[x509.GeneralName] = [
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        ]
        certificate = (
            _certificate(_named(name), self._name, key.public_key())
            .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return Pair(name, _pem(certificate), private)


def files_of(folder: Path, pair: Pair, authority: Authority | None = None) -> CertificateFiles:
    """Write a pair, and the authority that the others are to be signed by, into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    found = CertificateFiles(
        folder / "tls.crt", folder / "tls.key", folder / "ca.crt" if authority else None
    )
    pair.write(folder / "tls.crt", folder / "tls.key")
    if authority:
        replace(folder / "ca.crt", authority.certificate)
    return found


def replace(path: Path, body: bytes) -> None:
    """Let a file hold `body`, from one moment to the next."""
    new = path.with_name(path.name + ".new")
    new.write_bytes(body)
    new.rename(path)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _DAY)
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
