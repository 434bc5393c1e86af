"""Stubs made by grpcio-tools from `proto/`, on the path while they are needed."""

import contextlib
import sys
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

PROTO = Path(__file__).parents[3] / "proto"


@contextlib.contextmanager
def generate(out):
    """Every client compiles from `proto/` alone, the google files included."""
    files = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    well_known = resources.files("grpc_tools") / "_proto"
    arguments = ["protoc", f"-I{PROTO}", f"-I{well_known}", f"--python_out={out}", f"--grpc_python_out={out}", *files]
    assert protoc.main(arguments) == 0
    sys.path.insert(0, str(out))
    yield out
    sys.path.remove(str(out))
