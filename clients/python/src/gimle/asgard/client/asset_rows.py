"""What a service says of assets, as exceptions: the rows of errors.py that are AssetService's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gimle.asgard.core import asset_errors, errors

_Fields = Callable[[Mapping[str, str]], dict[str, Any]]

_LINKS = ("experiment_input_assets", "variation_input_assets", "experiment_output_assets")


def _asset(info: Mapping[str, str]) -> dict[str, Any]:
    return {"asset_id": info["assetId"]}


_KINDS: Mapping[str, tuple[type[errors.AsgardError], _Fields]] = {
    "ASSET_STATE": (
        asset_errors.AssetStateError,
        lambda info: {**_asset(info), "state": info["state"], "mend": info["mend"]},
    ),
    "ASSET_INCOMPLETE": (
        asset_errors.AssetIncompleteError,
        lambda info: {
            **_asset(info),
            "missing": info["missing"].split(","),
            "count": int(info["count"]),
        },
    ),
    "NOT_AWAITING_REVIEW": (asset_errors.NotAwaitingReviewError, _asset),
    "ASSET_LINKED": (
        asset_errors.AssetLinkedError,
        lambda info: {
            **_asset(info),
            "links": {kind: int(info[kind]) for kind in _LINKS if kind in info},
        },
    ),
    "ASSET_INVALIDATED": (
        asset_errors.AssetInvalidatedError,
        lambda info: {**_asset(info), "reason": info["reason"]},
    ),
    "ASSET_ORG_MISMATCH": (
        asset_errors.AssetOrgMismatchError,
        lambda info: {
            "experiment_id": info["experimentId"],
            "organization_id": info["organizationId"],
        },
    ),
    "NO_PREVIEW": (
        asset_errors.NoPreviewError,
        lambda info: {**_asset(info), "why": info["why"]},
    ),
    "COMPONENT_NOT_FOUND": (
        asset_errors.ComponentNotFoundError,
        lambda info: {**_asset(info), "component": info["component"]},
    ),
}


def _row(kind: type[errors.AsgardError], fields: _Fields) -> Callable[..., errors.AsgardError]:
    return lambda message, info, place: kind(**fields(info))


ROWS: Mapping[str, Callable[..., errors.AsgardError]] = {
    reason: _row(kind, fields) for reason, (kind, fields) in _KINDS.items()
}
