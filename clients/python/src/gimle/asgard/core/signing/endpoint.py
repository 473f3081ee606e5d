"""Where a store is reached, and how it is asked for a bucket: in the path, or in the host."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from gimle.asgard.core.errors import InvalidFieldError

Style = Literal["path", "virtual"]

_DEFAULT_PORTS = {"http": 80, "https": 443}
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Address:
    """Where one bucket is: `url` what its keys are appended to, `host` the Host that is signed.

    `path` is what stands between the host and "/key" in the URL.
    """

    url: str
    host: str
    path: str


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of a store, without a bucket.

    `netloc` as it stands in URLs, `path` in front of all buckets ("" for nearly all stores).
    Of style `virtual`, a bucket whose name cannot be part of a host is asked for in the path all
    the same, as Amazon's own tools do.
    """

    scheme: str
    netloc: str
    path: str = ""
    style: Style = "path"

    @property
    def url(self) -> str:
        """The address, as clients of S3 take it."""
        return f"{self.scheme}://{self.netloc}{self.path}"

    @classmethod
    def parse(cls, text: str, *, secure: bool = True, style: Style = "path") -> Endpoint:
        """Read `https://host:port` or `host:port`; `secure` decides for the second.

        Raises InvalidFieldError for the field `endpoint`.
        """
        url = text if "://" in text else f"{'https' if secure else 'http'}://{text}"
        try:
            parts = urlsplit(url)
            parts.port  # noqa: B018 - raises for what is not a port
        except ValueError as error:
            raise _invalid(text, str(error)) from None
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
            raise _invalid(text, "it is not an address")
        if parts.username is not None or parts.query or parts.fragment:
            raise _invalid(text, "an address has no user, query or fragment")
        return cls(parts.scheme, parts.netloc, parts.path.rstrip("/"), style)

    def address(self, bucket: str) -> Address:
        """Where `bucket` is."""
        host = _host(self.scheme, self.netloc)
        if self.style == "virtual" and self._may_lead(bucket):
            return Address(
                f"{self.scheme}://{bucket}.{self.netloc}{self.path}", f"{bucket}.{host}", self.path
            )
        path = f"{self.path}/{bucket}"
        return Address(f"{self.scheme}://{self.netloc}{path}", host, path)

    def _may_lead(self, bucket: str) -> bool:
        """Whether `bucket.host` is a host that a certificate of the store can cover."""
        name = urlsplit(f"//{self.netloc}").hostname or ""
        try:
            ipaddress.ip_address(name)
        except ValueError:
            labels = bucket.split(".")
            dots = len(labels) > 1
            return all(map(_LABEL.fullmatch, labels)) and not (dots and self.scheme == "https")
        return False


def _host(scheme: str, netloc: str) -> str:
    """The Host header of requests: lower case, no port where it is the default one."""
    parts = urlsplit(f"//{netloc}")
    name = parts.hostname or ""
    host = f"[{name}]" if ":" in name else name
    if parts.port is None or parts.port == _DEFAULT_PORTS[scheme]:
        return host
    return f"{host}:{parts.port}"


def _invalid(text: str, problem: str) -> InvalidFieldError:
    return InvalidFieldError(
        "endpoint", f"{text!r}: {problem}", "give one like https://s3.example.org or localhost:9000"
    )
