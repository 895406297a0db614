# SPDX-License-Identifier: MIT
"""
The section C{partition}: the kind of partition map and its content.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType

from btcp.config.document import AnyNode
from btcp.config.document import Mapping as MappingNode
from btcp.config.keys import KEYS
from btcp.config.policy import read_policy_choice
from btcp.config.reading import Reading, suggestion
from btcp.content.contract import ContentError
from btcp.content.host import canonical_host
from btcp.content.path import resolved_path
from btcp.partition.contract import PartitionMap
from btcp.partition.rules import Rule, RuleMap

_ESCAPE = re.compile("%[0-9A-Fa-f]{2}")


def read_partition(node: AnyNode, reading: Reading, names: Collection[str]) -> PartitionMap | None:
    """
    Read the section.

    @param names: the names of all nodes.
    @return: the map; L{None} if C{reading} received problems.
    """
    if not isinstance(node, MappingNode):
        return _read_rules(node, reading, names)
    before = len(reading.problems)
    kinds = reading.mapping(node, "partition", tuple(MAPS))
    if len(kinds) == 1:
        [(kind, content)] = kinds.items()
        return MAPS[kind](content, reading, names)
    if len(reading.problems) == before:
        reading.complain(node, f"partition: want a list of rules, or one of: {', '.join(MAPS)}")
    return None


def _read_rules(node: AnyNode, reading: Reading, names: Collection[str]) -> RuleMap | None:
    rules: dict[tuple[str | None, str], Rule] = {}
    lines: dict[tuple[str | None, str], int] = {}
    before = len(reading.problems)
    for index, item in enumerate(reading.items(node, "partition")):
        rule = _read_rule(item, f"partition[{index}]", reading, names)
        if rule is None:
            continue
        key = (rule.host, rule.path)
        if key in rules:
            reading.complain(item, f"partition[{index}]: {rule} is already in line {lines[key]}")
        rules[key] = rule
        lines.setdefault(key, item.line)
    return RuleMap(tuple(rules.values())) if len(reading.problems) == before else None


def _read_rule(node: AnyNode, what: str, reading: Reading, names: Collection[str]) -> Rule | None:
    before = len(reading.problems)
    found = reading.section(node, what, KEYS["partition[]"], ("path", "nodes"))
    host = _read_host(found["host"], f"{what}.host", reading) if "host" in found else None
    path = _read_path(found["path"], f"{what}.path", reading) if "path" in found else None
    nodes: tuple[str, ...] = ()
    if "nodes" in found:
        nodes = _read_replicas(found["nodes"], f"{what}.nodes", reading, names)
    policy = read_policy_choice(found, f"{what}.", reading)
    if path is None or len(reading.problems) > before:
        return None
    return Rule(host, path, nodes, policy)


def _read_host(node: AnyNode, what: str, reading: Reading) -> str | None:
    wanted = "a host name without port, or '*.' and the end of one"
    text = reading.text(node, what, wanted)
    if text is None:
        return None
    star = "*." if text.startswith("*.") else ""
    host = canonical_host(text.removeprefix("*."))
    if host is None:
        hint = "; for any host leave 'host' out" if text == "*" else _idn_hint(star, text)
        reading.complain(node, f"{what}: want {wanted}, not {text!r}{hint}")
        return None
    return star + host


def _idn_hint(star: str, text: str) -> str:
    """
    Suggest the ASCII form of an internationalized name, which is what clients send.
    """
    if text.isascii():
        return ""
    try:
        name = text.removeprefix(star).encode("idna").decode("ascii")
    except UnicodeError:
        return "; an internationalized name is written as clients send it: 'xn--...'"
    return f"; clients send this name as {star + name!r}: write that"


def _read_path(node: AnyNode, what: str, reading: Reading) -> str | None:
    text = reading.text(node, what, "a path prefix that starts with '/'")
    if text is None:
        return None
    problem = _path_problem(text)
    if problem is None:
        return text
    reading.complain(node, f"{what}: {problem}")
    return None


def _path_problem(text: str) -> str | None:
    """
    Check a path prefix.

    @return: the reason why no request's path can have this prefix, or L{None} if one can.
    """
    if not text.startswith("/"):
        return f"want a path prefix that starts with '/', not {text!r}"
    if "?" in text or "#" in text:
        return "want a path without '?' and '#': the query decides nothing"
    if _ESCAPE.search(text):
        return "want the path decoded, without %: paths are decoded before they are compared"
    try:
        resolved = resolved_path(text.encode()).decode()
    except ContentError as error:
        return f"no request's path begins so: {error.reason}"
    if resolved != text:
        return f"no request's path begins so; want {resolved!r}"
    return None


def _read_replicas(
    node: AnyNode, what: str, reading: Reading, names: Collection[str]
) -> tuple[str, ...]:
    replicas: list[str] = []
    for item in reading.items(node, what):
        name = reading.text(item, what, "the name of a node")
        if name is None:
            continue
        if name not in names:
            reading.complain(item, f"{what}: unknown node {name!r}; {suggestion(name, names)}")
        elif name in replicas:
            reading.complain(item, f"{what}: {name!r} is there twice")
        replicas.append(name)
    return tuple(replicas)


MapReader = Callable[[AnyNode, Reading, Collection[str]], PartitionMap | None]

MAPS: Mapping[str, MapReader] = MappingProxyType({"rules": _read_rules})
"""
Kinds of map, by their key under C{partition}, to their readers.  A list under C{partition} is
read as C{rules}.
"""
