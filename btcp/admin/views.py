# SPDX-License-Identifier: MIT
"""
What a node is told, and how it fares, as JSON can say it.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

from attrs import fields, has

from btcp.config import Config, Listener, Node
from btcp.config.agreement import spelled
from btcp.config.keys import key_of
from btcp.partition.rules import RuleMap

_TROUBLE = (
    "answered.",
    "dropped.",
    "failed.",
    "handoff.refused.",
    "handoff.timeout",
    "handoff.late",
    "adopt.refused.",
    "adopt.unexpected.",
    "adopt.aborted.",
    "accept.unexpected.",
    "control.",
    "lost.",
    "manage.",
    "rejected.",
    "ebpf.table-full",
    "ebpf.unrecorded",
    "express.unrecorded",
)
"""How the names of those counters begin that move when something is not as it should be."""


def troubles(counters: Mapping[str, int]) -> dict[str, int]:
    """
    @return: those counters that have moved and better had not.
    """
    return {name: count for name, count in counters.items() if name.startswith(_TROUBLE) and count}


def partition(config: Config) -> list[dict[str, object]]:
    """
    Who holds what, the most specific first of each host.
    """
    if not isinstance(config.partition, RuleMap):
        return []
    rules = sorted(config.partition.rules, key=lambda rule: (rule.host or "~", rule.path))
    return [
        {"host": rule.host or "*", "path": rule.path, "nodes": list(rule.nodes)} for rule in rules
    ]


def configuration(config: Config) -> dict[str, object]:
    """
    The configuration in force, defaults included, with the file's own keys; the partition map
    has a view of its own.
    """
    said = {
        key_of(attribute.name): _plain(getattr(config, attribute.name))
        for attribute in fields(Config)
        if attribute.name not in ("partition", "listeners", "control")
    }
    said["listeners"] = {each.name: _plain(each) for each in config.listeners}
    files = config.control.credentials
    protection = {"insecure": True} if files is None else _keyed(files)
    return {**said, "control": {**protection, "heartbeat": config.control.heartbeat}}


def _keyed(values: Any) -> dict[str, object]:
    """
    @param values: a section; the name that a node or listener has is the key to it.
    """
    return {
        key_of(attribute.name): _plain(getattr(values, attribute.name))
        for attribute in fields(type(values))
        if attribute.name != "name" or not isinstance(values, Node | Listener)
    }


def _plain(value: Any) -> object:
    match value:
        case bytes():
            return str(ip_address(value))
        case (str(), int()):
            return spelled(value)
        case tuple():
            return [_plain(each) for each in value]
        case Mapping():
            return {key: _plain(each) for key, each in value.items()}
    return _keyed(value) if has(type(value)) else value
