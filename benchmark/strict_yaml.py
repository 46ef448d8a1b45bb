"""YAML as every study, mapping and setting is read: safe, in UTF-8, with every mistake one line."""

from itertools import chain
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError

from benchmark.errors import BenchmarkError, first_line

_MOST_VALUES = 1_000_000  #: of one file, every alias (``*name``) counted as what it stands for
_MOST_BITS = 64  #: of an integer


def load(path: str | Path) -> Any:
    """Reads a YAML file.

    Raises:
        BenchmarkError: the file is missing, or as ``parse``.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise BenchmarkError(f"cannot read {path}: {error.strerror}") from error
    return parse(data, str(path))


def parse(text: bytes | str, source: str) -> Any:
    """Parses YAML; dates stay text, because no key takes one.

    Args:
        text: bytes are UTF-8, whatever the locale.
        source: where it stands, for messages.

    Raises:
        BenchmarkError: it is no YAML, or a key stands twice in one table, or it holds an integer of
            more than 64 bits, a control character or too many values.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if _count(node, {}) > _MOST_VALUES:
            raise ConstructorError(None, None, "its aliases stand for too many values", None)
        return loader.construct_document(node)
    except RecursionError as error:
        raise BenchmarkError(f"{source}: not valid YAML (nested too deeply)") from error
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        why = getattr(error, "problem", None) or getattr(error, "reason", None)
        message = f"{source}: not valid YAML ({why or first_line(error)}{line})"
        raise BenchmarkError(message) from error
    except Exception as error:  # of any type: a value that its own tag does not fit, as !!int ""
        raise BenchmarkError(f"{source}: not valid YAML (a tag on another value)") from error


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader without what it does in silence."""

    yaml_implicit_resolvers = {  # noqa: RUF012, PyYAML's name
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        """Refuses a key that stands twice, of which YAML would forget the first one.

        Before merges (``<<: *name``), whose keys may be overridden.
        """
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                problem = f"the key {key.value!r} stands there twice"
                raise ConstructorError(None, None, problem, key.start_mark)
            seen.add(key.value)
        return node

    def compose_scalar_node(self, anchor: str | None) -> yaml.ScalarNode:
        """Refuses escapes of what YAML forbids as a character: NUL, control characters."""
        node = super().compose_scalar_node(anchor)
        if self.NON_PRINTABLE.search(node.value):
            raise ConstructorError(None, None, "a control character", node.start_mark)
        return node

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Refuses integers that no key takes and that Python may not print."""
        if len(node.value) <= 2 * _MOST_BITS:
            value = super().construct_yaml_int(node)
            if value.bit_length() <= _MOST_BITS:
                return value
        problem = f"an integer of more than {_MOST_BITS} bits"
        raise ConstructorError(None, None, problem, node.start_mark)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def _count(node: yaml.Node, known: dict[int, int]) -> int:
    """The number of values below a node and with it, every alias written out."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in known:
        parts = node.value if isinstance(node, yaml.SequenceNode) else chain(*node.value)
        known[id(node)] = 1 + sum(_count(part, known) for part in parts)
    return known[id(node)]
