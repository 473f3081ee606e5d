"""What is raised of assets and experiments. All are `ServiceError`s: only a service has them.

ServiceError
├── AssetStateError          the state of the asset does not allow it
├── AssetIncompleteError     components have not arrived
├── NotAwaitingReviewError   nobody has to approve it
├── AssetLinkedError         experiments or variations refer to it
├── AssetInvalidatedError    it is not to be built on
├── AssetOrgMismatchError    the organisation is not that of the experiment
├── NoPreviewError           nothing of it can be shown without harm
├── ComponentNotFoundError   the asset has no component of this name
└── ContentTooLargeError     what comes with a call has too many bytes
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gimle.asgard.core.errors import ServiceError

# What fits beside the rest into the trailers of a call.
_TOLD_BYTES = 2_000


class AssetStateError(ServiceError):
    """The asset is `state`, or such that it cannot be done; `mend` says what can."""

    def __init__(self, asset_id: str, state: str, mend: str) -> None:
        super().__init__(f"the asset {asset_id} is {state}; {mend}")
        self.asset_id = asset_id
        self.state = state
        self.mend = mend


class AssetIncompleteError(ServiceError):
    """Of the asset's components some have not arrived: `missing` names the first of `count`."""

    def __init__(self, asset_id: str, missing: Sequence[str], count: int = 0) -> None:
        self.missing = _first(missing)
        self.count = count or len(missing)
        more = self.count - len(self.missing)
        told = ", ".join(self.missing) + (f" and {more:,} more" if more else "")
        super().__init__(f"the asset {asset_id} is incomplete: {told} have not arrived")
        self.asset_id = asset_id


class NotAwaitingReviewError(ServiceError):
    """The asset waits for nobody's approval."""

    def __init__(self, asset_id: str) -> None:
        super().__init__("asset is not awaiting review")
        self.asset_id = asset_id


class AssetLinkedError(ServiceError):
    """Something refers to the asset; `links` tells how many of each kind."""

    def __init__(self, asset_id: str, links: Mapping[str, int]) -> None:
        told = ", ".join(f"{count:,} {kind}" for kind, count in sorted(links.items()) if count)
        super().__init__(
            f"asset is linked ({told}); hard delete is only for unlinked assets"
            " - deprecate or invalidate it instead"
        )
        self.asset_id = asset_id
        self.links = dict(links)


class AssetInvalidatedError(ServiceError):
    """The asset is invalidated for `reason`, and is no new input."""

    def __init__(self, asset_id: str, reason: str) -> None:
        super().__init__(
            f"the asset {asset_id} is invalidated ({reason});"
            " give allow_invalid_assets to link it all the same"
        )
        self.asset_id = asset_id
        self.reason = reason


class AssetOrgMismatchError(ServiceError):
    """The experiment belongs to `organization_id` (empty: to a person), not where it was said."""

    def __init__(self, experiment_id: str, organization_id: str) -> None:
        owner = f"the organization {organization_id}" if organization_id else "a person"
        super().__init__(
            f"the experiment {experiment_id} belongs to {owner}, and its assets do;"
            " leave organization_id out"
        )
        self.experiment_id = experiment_id
        self.organization_id = organization_id


class NoPreviewError(ServiceError):
    """Nothing of the asset can be shown without harm."""

    def __init__(self, asset_id: str, why: str) -> None:
        super().__init__(f"the asset {asset_id} has no preview: {why}; download it")
        self.asset_id = asset_id
        self.why = why


class ComponentNotFoundError(ServiceError):
    """The asset has no `component` of this name."""

    def __init__(self, asset_id: str, component: str) -> None:
        super().__init__(f"the asset {asset_id} has no component {component}")
        self.asset_id = asset_id
        self.component = component


class ContentTooLargeError(ServiceError):
    """What came with a call has more than `limit_bytes` bytes."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(
            f"the content has more than {limit_bytes:,} bytes; name components, and upload it"
        )
        self.limit_bytes = limit_bytes


def _first(names: Sequence[str]) -> tuple[str, ...]:
    """Names as far as they may be told."""
    told: list[str] = []
    size = 0
    for name in names:
        size += len(name.encode("utf-8", "replace")) + 2
        if told and size > _TOLD_BYTES:
            break
        told.append(name)
    return tuple(told)
