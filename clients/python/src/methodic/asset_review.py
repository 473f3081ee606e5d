"""Review and validity of assets, and their end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from methodic import paths
from methodic.answers import Answer, Answers
from methodic.transport import Transport


class AssetReview:
    """The calls of `chronicle.assets` that approve, flag and delete."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def approve(self, asset_id: str) -> Answer:
        """Approve what awaits review, and finalize it. Raises ConflictError when it does not."""
        return self._put(asset_id, "approve")

    def reject(self, asset_id: str, reason: str | None = None) -> Answer:
        """Reject what awaits review: it is abandoned. Raises ConflictError when it does not."""
        return self._put(asset_id, "reject", reason=reason)

    def bulk_approve(self, asset_ids: Sequence[str]) -> Answers:
        """Approve many; each outcome says `approved`, or why not."""
        body = {"asset_ids": list(asset_ids)}
        outcomes: Answers = self._transport.post("/v1/assets:bulkApprove", body).outcomes
        return outcomes

    def review_queue(self) -> Answers:
        """What awaits review and the caller may approve, the oldest first."""
        return [*self._transport.pages("/v1/review-queue", "assets")]

    def deprecate(self, asset_id: str, reason: str) -> Answer:
        """Warn of it; it stays usable."""
        return self._put(asset_id, "deprecate", reason=reason)

    def invalidate(self, asset_id: str, reason: str) -> Answer:
        """Block it as a new input; what is linked stays."""
        return self._put(asset_id, "invalidate", reason=reason)

    def reinstate(self, asset_id: str, reason: str, flag: str | None = None) -> Answer:
        """Take "deprecated", "invalidated", or both back."""
        return self._put(asset_id, "reinstate", reason=reason, flag=flag)

    def flags(self, asset_id: str) -> Answers:
        """Every time a flag was set or taken back, the newest first."""
        return [*self._transport.pages(f"{paths.asset(asset_id)}/flags", "entries")]

    def delete(self, asset_id: str) -> Answer:
        """Delete it for ever: row, access, bytes, search document. Answers what was removed.

        Raises ConflictError "asset_linked", with `.links`, while something refers to it.
        """
        found: Answer = self._transport.delete(paths.asset(asset_id))
        return found

    def _put(self, asset_id: str, what: str, **body: Any) -> Answer:
        found: Answer = self._transport.put(f"{paths.asset(asset_id)}/{what}", body)
        return found
