"""Users, organisations, teams and API keys, at a service that knows them.

identity = Identity("grpc://localhost:50051")
identity.call("CreateOrganization", slug="acme", name="Acme")
"""

from __future__ import annotations

from gimle.asgard.client.asking import AskingByName
from gimle.asgard.v1 import identity_service_pb2
from gimle.asgard.v1 import identity_service_pb2_grpc as pb_grpc

__all__ = ["Identity"]


class Identity(AskingByName):
    """IdentityService."""

    stub = pb_grpc.IdentityServiceStub
    protos = (identity_service_pb2,)
    # Each call of this one makes another key.
    not_repeated = frozenset({"CreateApiKey"})
