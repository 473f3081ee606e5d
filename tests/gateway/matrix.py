"""Who gets which status for which call: the table, written by hand from docs/access.md.

A row has a status for each of CALLERS, in their order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

CALLERS = (
    "nobody",
    "stranger",
    "reader",
    "writer",
    "deleter",
    "administrator",
    "other organisation",
    "expired key",
    "worker of another run",
)

# What is to be there before the call: an asset (ready, with components to come, to be reviewed), an
# open experiment, one that is committed with a run that is pending, going on or over; people; or
# the administrator's blob, or an upload of theirs that comes in parts; a run of the committed
# experiment as RunService has it, or one that the administrator has made, each with a result.
Needs = Literal[
    "ready", "pending", "review", "open", "committed", "running", "ended", "people", "blob",
    "upload", "its run", "own run", "nothing",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cell:
    """One call of one RPC, and what each caller gets for it."""

    needs: Needs
    expected: str
    body: dict[str, Any] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    path: dict[str, str] = field(default_factory=dict)

    def of(self, caller: str) -> int:
        """The status that a caller gets."""
        return int(self.expected.split()[CALLERS.index(caller)])


#              nobody stranger reader writer deleter admin other expired worker
READ = "       401    404      200    200    200     200   404   401     200"
WRITE = "      401    404      403    200    403     200   404   401     403"
DELETE = "     401    404      403    403    200     200   404   401     403"
ADMINISTER = " 401    404      404    404    404     200   404   401     403"
ANYBODY = "    401    200      200    200    200     200   200   401     200"
PEOPLE = "     401    200      200    200    200     200   200   401     403"
SERVERS = "    401    403      403    403    403     403   403   401     403"

ASSETS: dict[str, Cell] = {
    "CreateAsset": Cell("nothing", PEOPLE, {"asset_type": "x", "content": 1}),
    "GetAsset": Cell("ready", READ),
    "ListAssets": Cell("nothing", ANYBODY),
    "SearchAssets": Cell("nothing", ANYBODY, {"query": "x"}),
    "UpdateAsset": Cell("ready", WRITE, {"metadata": {"a": 1}}),
    "PresignAsset": Cell("pending", WRITE, {"operation": "write"}),
    "FinalizeAsset": Cell("ready", WRITE),
    "ApproveAsset": Cell("review", WRITE),
    "RejectAsset": Cell("review", WRITE, {"reason": "no"}),
    "BulkApproveAssets": Cell("review", ANYBODY, {"asset_ids": ["{asset_id}"]}),
    "ListReviewQueue": Cell("nothing", ANYBODY),
    "DeprecateAsset": Cell("ready", WRITE, {"reason": "old"}),
    "InvalidateAsset": Cell("ready", WRITE, {"reason": "wrong"}),
    "ReinstateAsset": Cell("ready", WRITE, {"reason": "right"}),
    "ListAssetFlags": Cell("ready", READ),
    "DeleteAsset": Cell("ready", DELETE),
    "GrantAccess": Cell("ready", ADMINISTER, {"principal_id": "everyone"}),
    "RevokeAccess": Cell("ready", ADMINISTER, query={"principal_id": "everyone"}),
    "ListAccess": Cell("ready", ADMINISTER),
    "ExplainAccess": Cell("ready", READ),
    "ShareWithScope": Cell("ready", ADMINISTER, {"scope_id": "o/lab"}),
    "SetVisibility": Cell("ready", ADMINISTER, {"visibility": "public"}),
    "MoveAsset": Cell("ready", ADMINISTER, {"organization_id": "o/lab"}),
    "ListAssetVersions": Cell("ready", READ),
    "SetAssetAlias": Cell("ready", WRITE, path={"alias": "best"}),
    "DeleteAssetAlias": Cell("ready", WRITE, path={"alias": "best"}),
    "GetAssetLineage": Cell("ready", READ),
    "PreviewAsset": Cell("ready", READ),
    "ListAuditEntries": Cell("ready", ADMINISTER, query={"asset_id": "{asset_id}"}),
    "WatchAssets": Cell("nothing", ANYBODY),
}

EXPERIMENTS: dict[str, Cell] = {
    "CreateExperiment": Cell("nothing", PEOPLE, {"hypothesis_summary": "it is so"}),
    "GetExperiment": Cell("open", READ),
    "ListExperiments": Cell("nothing", ANYBODY),
    "UpdateExperiment": Cell("open", WRITE, {"title": "other"}),
    "DeleteExperiment": Cell("open", DELETE),
    "CommitExperiment": Cell("open", WRITE),
    "ConcludeExperiment": Cell("committed", WRITE),
    "RetractExperiment": Cell("committed", DELETE, {"reason": "wrong"}),
    "PreviewRetraction": Cell("committed", READ),
    "MoveExperiment": Cell("open", ADMINISTER, {"organization_id": "o/lab"}),
    "ListExperimentOutputs": Cell("open", READ),
    "ListExperimentInputs": Cell("open", READ),
    "AddExperimentInputs": Cell("open", WRITE, {"asset_ids": ["{asset_id}"]}),
    "RemoveExperimentInput": Cell("open", WRITE),
    "RecordFinding": Cell("committed", WRITE, {"status": "working", "summary": "it is so"}),
    "GetExperimentLineage": Cell("open", READ),
    "ListUpstreamRetractions": Cell("open", READ),
    "GrantExperimentAccess": Cell("open", ADMINISTER, {"principal_id": "everyone"}),
    "RevokeExperimentAccess": Cell("open", ADMINISTER, query={"principal_id": "everyone"}),
    "ListExperimentAccess": Cell("open", ADMINISTER),
    "SetExperimentVisibility": Cell("open", ADMINISTER, {"visibility": "public"}),
    "CreateVariation": Cell("open", WRITE),
    "GetVariation": Cell("committed", READ),
    "RetractVariation": Cell("committed", DELETE, {"reason": "wrong"}),
    "ResumeVariation": Cell("ended", WRITE),
    "ListVariationInputs": Cell("committed", READ),
    "AddVariationInputs": Cell("open", WRITE, {"asset_ids": ["{asset_id}"]}),
    "RemoveVariationInput": Cell("open", WRITE),
    "GetVariationRun": Cell("committed", READ),
    "StartVariationRun": Cell("committed", WRITE, {"worker": "w"}),
    "HeartbeatVariationRun": Cell("running", WRITE),
    "SucceedVariationRun": Cell("running", WRITE),
    "FailVariationRun": Cell("running", WRITE, {"reason": "no"}),
    "ListRunOutputs": Cell("committed", READ),
}

IDENTITY: dict[str, Cell] = {
    "GetMe": Cell("nothing", ANYBODY),
    "ListScopes": Cell("nothing", ANYBODY),
    "CreateApiKey": Cell("nothing", PEOPLE, {"name": "k", "key_type": "user"}),
    "ListApiKeys": Cell("nothing", ANYBODY),
    "CreateUser": Cell("nothing", SERVERS, {"handle": "new-user"}),
    "ListUsers": Cell("nothing", ANYBODY),
    "DeleteUser": Cell("people", SERVERS),
    "CreateOrganization": Cell("nothing", SERVERS, {"slug": "new-org"}),
    "ListOrganizations": Cell("nothing", ANYBODY),
    "CreateTeam": Cell("nothing", SERVERS, {"slug": "new-team"}),
    "ListTeams": Cell("nothing", ANYBODY),
    "ResolvePrincipal": Cell("people", ANYBODY, path={"handle": "@administrator"}),
}

# Of a foreign organisation, team, user or key whoever is not in it sees nothing.
FOREIGN = "401 404 404 404 404 404 404 401 404"
OF_OTHERS: dict[str, Cell] = {
    "RevokeApiKey": Cell("people", FOREIGN),
    "GetUser": Cell("people", FOREIGN),
    "GetOrganization": Cell("people", FOREIGN),
    "DeleteOrganization": Cell("people", FOREIGN),
    "GetTeam": Cell("people", FOREIGN),
    "DeleteTeam": Cell("people", FOREIGN),
    "ListMembers": Cell("people", FOREIGN),
    "SetMember": Cell("people", FOREIGN, {"role": "member"}),
    "RemoveMember": Cell("people", FOREIGN),
}

# A blob is its maker's alone: here the administrator's, by whose user the worker acts, too.
OWN = "        401    404      404    404    404     200   404   401     200"
OWN_DELETE = " 401    404      404    404    404     200   404   401     403"
DELETE_ANY = " 401    200      200    200    200     200   200   401     403"
_SHA256 = "0" * 64

BLOBS: dict[str, Cell] = {
    "CreateUploads": Cell("nothing", ANYBODY, {"uploads": [{"name": "new"}]}),
    "RenewUploads": Cell("upload", OWN, {"blob_ids": ["{blob_id}"]}),
    "SignParts": Cell("upload", OWN, {"parts": [{"number": 1, "sha256": _SHA256}]}),
    "ListParts": Cell("upload", OWN),
    # Each upload has an outcome of its own: others' are not found (test_whose_blobs.py).
    "CompleteUploads": Cell("upload", ANYBODY, {"uploads": [{"blob_id": "{blob_id}"}]}),
    "AbortUploads": Cell("upload", ANYBODY, {"blob_ids": ["{blob_id}"]}),
    "CreateDownloads": Cell("blob", OWN, {"downloads": [{"blob_id": "{blob_id}"}]}),
    "GetBlob": Cell("blob", OWN),
    "ListBlobs": Cell("nothing", ANYBODY),
    "DeleteBlob": Cell("blob", OWN_DELETE),
    "DeleteBlobs": Cell("blob", DELETE_ANY, {"name_prefix": "n"}),
    "CopyBlob": Cell("blob", OWN, {"name": "copy"}),
    "ClaimBlobs": Cell("blob", SERVERS, {"blob_ids": ["{blob_id}"], "owner": "asset/1"}),
    "ReleaseBlobs": Cell("blob", SERVERS, {"owner": "asset/1"}),
    "ReadBlob": Cell("blob", OWN),
    "WriteBlob": Cell("nothing", ANYBODY, {"name": "written", "body": "eA=="}),
}

RESULT = {"result_type": "Solution1D", "data": {"x": [0.0], "computed": [1.0]}}
RUNS_RESULT = {
    "AddResult": Cell("its run", WRITE, {"result": RESULT}),
    "AppendResult": Cell("its run", WRITE, {"data": {"x": [1.0], "computed": [2.0]}}),
    "GetResult": Cell("its run", READ),
    "ListResults": Cell("its run", READ),
    "DeleteResult": Cell("its run", WRITE),
    "RenderResult": Cell("its run", READ),
}
# A run of a variation is read by whom its experiment lets read, and changed by whom it lets write.
RUNS: dict[str, Cell] = {
    "CreateRun": Cell("nothing", PEOPLE, {"name": "a run"}),
    "SaveRun": Cell("nothing", PEOPLE, {"run": {"name": "a run"}, "results": [RESULT]}),
    "GetRun": Cell("its run", READ),
    "ListRuns": Cell("nothing", ANYBODY),
    "UpdateRun": Cell("its run", WRITE, {"note": "seen"}),
    "FinishRun": Cell("its run", WRITE),
    "DeleteRun": Cell("its run", WRITE),
    "WatchRuns": Cell("nothing", ANYBODY),
} | RUNS_RESULT

# Whoever has made a run shares it with nobody, until they say so; a worker's key reads as its user.
#              nobody stranger reader writer deleter admin other expired worker
MINE = "       401    404      404    404    404     200   404   401     200"
CHANGE_MINE = "401    404      404    404    404     200   404   401     403"
OWN_RUNS: dict[str, Cell] = {
    "GetRun": Cell("own run", MINE),
    "UpdateRun": Cell("own run", CHANGE_MINE, {"visibility": "public"}),
    "FinishRun": Cell("own run", CHANGE_MINE),
    "DeleteRun": Cell("own run", CHANGE_MINE),
    "AddResult": Cell("own run", CHANGE_MINE, {"result": RESULT}),
    "AppendResult": Cell("own run", CHANGE_MINE, {"data": {"x": [1.0], "computed": [2.0]}}),
    "GetResult": Cell("own run", MINE),
    "ListResults": Cell("own run", MINE),
    "DeleteResult": Cell("own run", CHANGE_MINE),
    "RenderResult": Cell("own run", MINE),
}

# Whoever is identified may do these (docs/access.md, "Runs, results and blobs" and "Jobs"): nobody
# and an expired key get 401.
IDENTIFIED = {
    "SimDataService": {
        *("CreateJob", "ListJobs", "GetJob", "ClaimJob", "RenewJob", "CompleteJob", "FailJob"),
        *("GetSimData", "ResumeJob", "RetryJob", "DeleteJob", "CreateDraft", "UpdateDraft"),
        *("LaunchDraft", "CreateShareLink", "DeleteShareLink", "GetReport", "WatchJobs"),
    },
}

# Whoever has the token of a shared job may read it, and what is public needs nobody.
FOR_EVERYBODY = {"GetSharedJob"}
