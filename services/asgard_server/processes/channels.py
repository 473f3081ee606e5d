"""The channels to services elsewhere: to all replicas of each, over outages and rotations."""

from __future__ import annotations

import json

import grpc

from asgard_server.processes.tls import certificates_of
from asgard_server.rpc.channel import open_channel
from asgard_server.settings import Settings

_SERVICE = "gimle.asgard.v1.RunService"
BLOB_SERVICE = "gimle.asgard.v1.BlobService"
SIM_DATA_SERVICE = "gimle.asgard.v1.SimDataService"
ASSET_SERVICE = "gimle.asgard.v1.AssetService"
EXPERIMENT_SERVICE = "gimle.asgard.v1.ExperimentService"
IDENTITY_SERVICE = "gimle.asgard.v1.IdentityService"
# Asked again elsewhere when a replica goes away under them: they change nothing.
_READING = ("GetRun", "ListRuns", "GetResult", "ListResults", "RenderResult")
_READING_BLOBS = ("GetBlob", "ListBlobs", "ListParts", "ReadBlob", "CreateDownloads")
_READING_ASSETS = (
    *("GetAsset", "ListAssets", "SearchAssets", "ListReviewQueue", "ListAssetFlags"),
    *("ListAccess", "ExplainAccess", "ListAssetVersions", "GetAssetLineage", "ListAuditEntries"),
    "PreviewAsset",
)
_READING_EXPERIMENTS = (
    *("GetExperiment", "ListExperiments", "PreviewRetraction", "ListExperimentOutputs"),
    *("ListExperimentInputs", "GetExperimentLineage", "ListUpstreamRetractions"),
    *("ListExperimentAccess", "GetVariation", "ListVariationInputs", "GetVariationRun"),
    "ListRunOutputs",
)
_READING_IDENTITY = (
    *("GetMe", "ListScopes", "ListApiKeys", "GetUser", "ListUsers", "ListMembers"),
    *("GetOrganization", "ListOrganizations", "GetTeam", "ListTeams", "ResolvePrincipal"),
    "VerifyToken",
)
_READING_JOBS = ("GetJob", "ListJobs", "GetSimData", "GetReport", "GetSharedJob")

_SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [
                *({"service": _SERVICE, "method": method} for method in _READING),
                *({"service": BLOB_SERVICE, "method": method} for method in _READING_BLOBS),
                *({"service": ASSET_SERVICE, "method": method} for method in _READING_ASSETS),
                *(
                    {"service": EXPERIMENT_SERVICE, "method": method}
                    for method in _READING_EXPERIMENTS
                ),
                *({"service": SIM_DATA_SERVICE, "method": method} for method in _READING_JOBS),
                *({"service": IDENTITY_SERVICE, "method": method} for method in _READING_IDENTITY),
            ],
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.05s",
                "maxBackoff": "0.5s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
}

_CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    # A replica that comes back is to be used at once, also after a long outage: before the next
    # one goes, and within the second that a client is asked to wait.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.max_reconnect_backoff_ms", 500),
    # And so is a new one, as soon as a connection is lost.
    ("grpc.dns_min_time_between_resolutions_ms", 1_000),
    # A machine that vanishes says nothing. No more often than servers allow.
    ("grpc.keepalive_time_ms", 15_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)


def channel_to(settings: Settings, address: str) -> grpc.aio.Channel:
    """A channel to every replica of the service at `address`; nothing is called yet.

    Raises `CertificateError` when the certificates of `settings` cannot be used.
    """
    return open_channel(address, certificates_of(settings), _CHANNEL_OPTIONS)


def channel_to_run(settings: Settings) -> grpc.aio.Channel:
    """A channel to RunService; else as `channel_to`."""
    return channel_to(settings, settings.run_address)


def channel_to_blob(settings: Settings) -> grpc.aio.Channel:
    """A channel to BlobService; else as `channel_to`."""
    return channel_to(settings, settings.blob_address)


def channel_to_asset(settings: Settings) -> grpc.aio.Channel:
    """A channel to AssetService, which is ExperimentService and IdentityService, too; else as
    `channel_to`.
    """
    return channel_to(settings, settings.asset_address)
