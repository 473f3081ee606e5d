"""Access to assets: who may read, write, delete and administer one."""

from __future__ import annotations

from methodic import paths
from methodic.answers import Answer, Answers
from methodic.transport import Transport


class AssetAccess:
    """The calls of `chronicle.assets` on access, visibility and ownership."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def grant_access(self, asset_id: str, principal_id: str, action: str = "read") -> Answer:
        """Let somebody read, write, delete or administer it; again is no error.

        `principal_id`: a sub, a team's or organization's id, a handle, or "everyone".
        """
        body = {"principal_id": principal_id, "action": action}
        found: Answer = self._transport.post(f"{paths.asset(asset_id)}/access", body, safe=True)
        return found

    def revoke_access(self, asset_id: str, principal_id: str, action: str = "read") -> Answer:
        """Take a grant back; `removed` is False when there was none."""
        found: Answer = self._transport.delete(
            f"{paths.asset(asset_id)}/access", principal_id=principal_id, action=action
        )
        return found

    def list_access(self, asset_id: str) -> Answers:
        """Who may do what: `principal_id`, `action`, and where it comes from."""
        grants: Answers = self._transport.get(f"{paths.asset(asset_id)}/access").grants
        return grants

    def explain_access(self, asset_id: str, principal_id: str | None = None) -> Answer:
        """Why somebody may do something with it, in words."""
        found: Answer = self._transport.get(
            f"{paths.asset(asset_id)}/access:explain", principal_id=principal_id
        )
        return found

    def share_with_scope(self, asset_id: str, scope_id: str, action: str = "read") -> Answer:
        """Grant a whole team or organization of the caller."""
        body = {"scope_id": scope_id, "action": action}
        found: Answer = self._transport.post(f"{paths.asset(asset_id)}/share", body, safe=True)
        return found

    def set_visibility(self, asset_id: str, visibility: str) -> Answer:
        """Who may read it without a grant: "private", "organization" / "team", "public"."""
        found: Answer = self._transport.put(
            f"{paths.asset(asset_id)}/visibility", {"visibility": visibility}
        )
        return found

    def move(
        self,
        asset_id: str,
        organization_id: str,
        team_id: str | None = None,
        visibility: str | None = None,
    ) -> Answer:
        """Give it to an organization that the caller is in."""
        body = {
            "organization_id": organization_id,
            "team_id": team_id,
            "visibility": visibility,
        }
        found: Answer = self._transport.post(f"{paths.asset(asset_id)}/move", body, safe=True)
        return found
