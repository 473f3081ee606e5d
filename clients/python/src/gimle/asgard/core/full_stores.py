"""How a store in S3 says that it has no room."""

from __future__ import annotations


def is_full(code: str, status: int | None, said: str) -> bool:
    """Whether a store refuses for want of room, by its code, the HTTP status and its words.

    MinIO looks at its disks every second or so and then answers 507; until then, and where the
    last bytes are needed for its own files, it answers 500 and passes on what the system says.
    """
    full = code in ("XMinioStorageFull", "QuotaExceeded") or status == 507
    return full or "no space left on device" in said
