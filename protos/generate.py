"""Generate the Python code of the protos, with typed stubs, into the SDK.

    python protos/generate.py [DESTINATION]

DESTINATION defaults to clients/python/src. Beside the modules it writes
`gimle/asgard/v1/asgard.binpb`: the same files as one FileDescriptorSet with their
comments, from which the gateway makes its routes and its OpenAPI document.
"""

from __future__ import annotations

import sys
import sysconfig
from importlib.resources import files
from pathlib import Path

from google.api import http_pb2
from grpc_tools import protoc

PROTOS = Path(__file__).resolve().parent
SDK = PROTOS.parent / "clients" / "python" / "src"
SCRIPTS = Path(sysconfig.get_path("scripts"))  # where this interpreter's plugins are, PATH or not
STUBS = ("mypy", "mypy_grpc")


def generate(destination: Path) -> int:
    """Write generated code below `destination`; answer protoc's exit status."""
    sources = sorted(str(p.relative_to(PROTOS)) for p in PROTOS.glob("gimle/asgard/v1/*.proto"))
    package = destination / "gimle" / "asgard" / "v1"
    package.mkdir(parents=True, exist_ok=True)
    google = Path(http_pb2.__file__).parent.parent.parent  # the .proto files lie beside the code
    well_known = files("grpc_tools").joinpath("_proto")
    return int(
        protoc.main(
            [
                "protoc",
                *(f"--plugin=protoc-gen-{name}={SCRIPTS / f'protoc-gen-{name}'}" for name in STUBS),
                f"-I{PROTOS}",
                f"-I{google}",
                f"-I{well_known}",
                f"--python_out={destination}",
                f"--grpc_python_out={destination}",
                f"--mypy_out=readable_stubs:{destination}",
                f"--mypy_grpc_out={destination}",
                f"--descriptor_set_out={package / 'asgard.binpb'}",
                "--include_imports",
                "--include_source_info",
                *sources,
            ]
        )
    )


if __name__ == "__main__":
    sys.exit(generate(Path(sys.argv[1]) if len(sys.argv) > 1 else SDK))
