"""The Asgard services: run, gateway, and both in one process."""

from __future__ import annotations

import os

# gRPC's core writes lines of its own form past every logger, and asks for this only once, when
# it is loaded. What matters of them is in the errors that calls end with.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
