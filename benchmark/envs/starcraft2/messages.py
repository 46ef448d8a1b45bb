"""StarCraft II's protocol messages, with any version of protobuf.

The ``s2clientprotocol`` wheel carries code that was generated for protobuf 3. Protobuf 4 and later
refuse it ("Descriptors cannot be created directly") unless they run in pure Python, which parses a
large battle's observation more than a hundred times slower. What matters in each of those files is
one serialized descriptor. Once this module is imported, importing them takes just that and lets
the installed protobuf build the messages; nothing else about the package changes, so pysc2 and the
SMAC clients import it as they always did. For protobuf 3, which runs the wheel as it is, nothing
happens.
"""

import ast
import importlib
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import PathFinder
from importlib.util import spec_from_loader
from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.internal import api_implementation, builder

_PACKAGE = "s2clientprotocol"


class _Finder(MetaPathFinder):
    """Finds the generated files where they are, but has them loaded by ``_Loader``."""

    def find_spec(self, name, path, target=None):
        if not (name.startswith(f"{_PACKAGE}.") and name.endswith("_pb2")):
            return None
        found = PathFinder.find_spec(name, path)
        return found and spec_from_loader(name, _Loader(found.origin), origin=found.origin)


class _Loader(Loader):
    """Builds the messages of one generated file from its serialized descriptor."""

    def __init__(self, origin: str) -> None:
        self._origin = origin

    def exec_module(self, module) -> None:
        serialized = _serialized_descriptor(Path(self._origin).read_text())
        for needed in descriptor_pb2.FileDescriptorProto.FromString(serialized).dependency:
            importlib.import_module(needed.replace("/", ".").replace(".proto", "_pb2"))
        descriptor = descriptor_pool.Default().AddSerializedFile(serialized)
        module.DESCRIPTOR = descriptor
        builder.BuildMessageAndEnumDescriptors(descriptor, vars(module))
        builder.BuildTopDescriptorsAndMessages(descriptor, module.__name__, vars(module))


def _serialized_descriptor(source: str) -> bytes:
    """The descriptor in a generated file: the argument ``serialized_pb`` of its first one."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.keyword) and node.arg == "serialized_pb":
            literal = node.value.args[0] if isinstance(node.value, ast.Call) else node.value
            value = ast.literal_eval(literal)
            return value if isinstance(value, bytes) else value.encode("latin1")
    raise ImportError(f"no serialized descriptor in {_PACKAGE}: unknown version of the package")


if api_implementation.Type() == "upb":
    sys.meta_path.insert(0, _Finder())

from s2clientprotocol import (  # noqa: E402  (only now can they be imported)
    common_pb2,
    data_pb2,
    debug_pb2,
    error_pb2,
    raw_pb2,
    sc2api_pb2,
)

__all__ = ["common_pb2", "data_pb2", "debug_pb2", "error_pb2", "raw_pb2", "sc2api_pb2"]
