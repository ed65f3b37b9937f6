"""YAML as operators write it into a ConfigMap, read within bounds: no alias bomb, no deep nest."""

from collections.abc import Callable
from typing import Any

import yaml

MAX_TEXT = 256 * 1024  # a ConfigMap has 1 MiB for all of its keys; what is read here has a few KiB
MAX_NODES = 10_000
MAX_DEPTH = 64


class YamlBroken(ValueError):
    """A text that is no YAML, or more than is taken; the message shows nothing of the text.

    `mark` is the place, where there is one.
    """

    mark: yaml.Mark | None = None


class _Loader(yaml.SafeLoader):
    """Plain values only. A date is text, as it is for Argo CD."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own way
        first: [(tag, pattern) for tag, pattern in rules if not tag.endswith(":timestamp")]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def read_yaml(text: str) -> Any:
    """The one document in a text, as dicts, lists and scalars; None for an empty one.

    An alias counts as all that it stands for, so that a few lines cannot stand for gigabytes.

    Raises:
        YamlBroken: with the line, where there is one.
    """
    return _read(text, lambda loader, node: loader.construct_document(node))


def read_yaml_nodes(text: str) -> yaml.Node | None:
    """The same document as YAML's own nodes, which know their places; None for an empty one.

    Raises:
        YamlBroken: with the place, where there is one.
    """
    found: yaml.Node | None = _read(text, lambda loader, node: node)
    return found


def _read(text: str, made: Callable[[_Loader, yaml.Node], Any]) -> Any:
    if len(text) > MAX_TEXT:
        raise YamlBroken(f"is longer than {MAX_TEXT // 1024} KiB")
    try:
        loader = _Loader(text)
        node = _bounded_node(loader)
        return node if node is None else made(loader, node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" (line {mark.line + 1})" if mark else ""
        broken = YamlBroken(f"is no YAML{where}")
        broken.mark = mark
        raise broken from None
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, RecursionError) as error:
        # PyYAML's constructors let through what Python's own say of an odd number or key.
        raise error if isinstance(error, YamlBroken) else YamlBroken("is no YAML") from None


def _bounded_node(loader: _Loader) -> yaml.Node | None:
    node: yaml.Node | None = loader.get_single_node()
    if node is not None and _weight(node, {}, 0) > MAX_NODES:
        raise YamlBroken(f"has more than {MAX_NODES} values, aliases counted")
    return node


def _weight(node: yaml.Node, known: dict[int, int], above: int) -> int:
    """How many values a node stands for; one that holds itself is deeper than any bound."""
    if above > MAX_DEPTH:
        raise YamlBroken(f"is nested deeper than {MAX_DEPTH} levels")
    if id(node) not in known:
        known[id(node)] = 1 + sum(_weight(child, known, above + 1) for child in _children(node))
    return known[id(node)]


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []
