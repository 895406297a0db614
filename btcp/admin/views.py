# SPDX-License-Identifier: MIT
"""
JSON views of the configuration and of error counters.
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
"""Prefixes of the counters that count errors."""


def troubles(counters: Mapping[str, int]) -> dict[str, int]:
    """
    Select the error counters that are not zero.
    """
    return {name: count for name, count in counters.items() if name.startswith(_TROUBLE) and count}


def partition(config: Config) -> list[dict[str, object]]:
    """
    List the rules of the partition map by host and path, any host last.
    """
    if not isinstance(config.partition, RuleMap):
        return []
    rules = sorted(config.partition.rules, key=lambda rule: (rule.host or "~", rule.path))
    return [
        {"host": rule.host or "*", "path": rule.path, "nodes": list(rule.nodes)} for rule in rules
    ]


def configuration(config: Config) -> dict[str, object]:
    """
    Convert the current configuration, including defaults, to the keys of the file.  The
    partition map is left out; see L{partition}.
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
    Convert a section.

    @param values: an attrs object; the name of a node or listener is left out, because it is the
        key of the section.
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
