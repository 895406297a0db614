# SPDX-License-Identifier: MIT
"""
Reading of the whole file: its sections, and the constraints between them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from attrs import fields

from btcp.config.agreement import check_agreement, spelled
from btcp.config.control import read_control
from btcp.config.document import AnyNode
from btcp.config.health import read_health
from btcp.config.keys import KEYS, key_of
from btcp.config.log import read_log
from btcp.config.partition import read_partition
from btcp.config.policy import read_policy_choice
from btcp.config.reading import Reading, suggestion
from btcp.config.values import (
    ADOPTIONS,
    CONTENTS,
    DATAPATHS,
    DEFAULT_WEIGHT,
    MAX_WEIGHT,
    RETRIABLE,
    Config,
    Limits,
    Listener,
    Node,
    Timeouts,
)

_SOCKET_ADDRESS = 107
"""Octets of a path in C{struct sockaddr_un}, C{unix(7)}, less the final zero."""

_LONGEST_RUN = _SOCKET_ADDRESS - len("/btcp.sock")

_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\Z")
_DEVICE = re.compile(r"[^\s/:]{1,15}\Z")  # IFNAMSIZ less the final zero


def read_config(document: AnyNode, reading: Reading, node: str | None) -> Config | None:
    """
    Read a whole file.

    @param node: the name of this host's node; L{None} to use the key C{node} of the file.
    @return: the configuration; L{None} if C{reading} received problems.
    """
    top = reading.mapping(document, "the file", KEYS[""])
    for key in ("nodes", "listeners", "partition"):
        if key not in top:
            reading.complain(document, f"section {key!r} is missing")
    names = _names("nodes", top, reading)
    nodes = dict(_nodes(names, reading))
    places = _names("listeners", top, reading)
    listeners = tuple(_listeners(places, reading))
    own = _own(top, document, reading, node, names)
    partition = read_partition(top["partition"], reading, names) if "partition" in top else None
    optional = _optional(top, document, reading)
    if optional.get("datapath") == "raw" and optional.get("adoption") == "cookie":
        reading.complain(top["adoption"], "adoption: 'cookie' needs datapath 'ebpf' or 'auto'")
    if optional.get("express") and optional.get("datapath") == "raw":
        reading.complain(top["express"], "express: needs datapath 'ebpf' or 'auto'")
    if optional.get("express") and optional.get("adoption") == "replay":
        reading.complain(top["express"], "express: needs adoption 'cookie' or 'auto'")
    if not reading.problems and optional["control"].insecure:
        _check_manageable(nodes, names, reading)
    if not reading.problems:
        check_agreement(nodes, names, listeners, places, reading)
    if reading.problems or own is None or partition is None:
        return None
    return Config(
        node=own,
        nodes=MappingProxyType(nodes),
        listeners=listeners,
        partition=partition,
        **optional,
    )


def _names(section: str, top: Mapping[str, AnyNode], reading: Reading) -> dict[str, AnyNode]:
    if section not in top:
        return {}
    before = len(reading.problems)
    names = reading.mapping(top[section], section)
    if not names and len(reading.problems) == before:
        reading.complain(top[section], f"{section}: want at least one")
    return names


def _own(
    top: Mapping[str, AnyNode],
    document: AnyNode,
    reading: Reading,
    given: str | None,
    names: Mapping[str, AnyNode],
) -> str | None:
    if not names:
        return None  # reported already
    if given is not None:
        if given not in names:
            where = top["nodes"]
            reading.complain(where, f"--node: unknown node {given!r}; known: {', '.join(names)}")
        return given
    if "node" not in top:
        known = ", ".join(names)
        reading.complain(
            document, f"say which node this host is: 'node:' or --node; known: {known}"
        )
        return None
    name = reading.text(top["node"], "node", "the name of a node")
    if name is not None and name not in names:
        reading.complain(top["node"], f"node: unknown node {name!r}; {suggestion(name, names)}")
    return name


def _nodes(named: Mapping[str, AnyNode], reading: Reading) -> Iterator[tuple[str, Node]]:
    taken: dict[bytes | tuple[str, int], str] = {}
    for name, node in named.items():
        what = f"nodes.{name}"
        found = reading.section(node, what, KEYS["nodes.NAME"], ("addresses", "control"))
        addresses = _addresses(found.get("addresses"), f"{what}.addresses", reading)
        control, manage = (
            reading.endpoint(found[key], f"{what}.{key}") if key in found else None
            for key in ("control", "manage")
        )
        weight: int | None = DEFAULT_WEIGHT
        if "weight" in found:
            weight = reading.integer(found["weight"], f"{what}.weight", 0, MAX_WEIGHT)
        for key in (*addresses, control, manage):
            if key is not None and taken.setdefault(key, name) != name:
                reading.complain(node, f"{what}: {spelled(key)} belongs to node {taken[key]!r}")
        if addresses and control is not None and weight is not None:
            yield name, Node(name, addresses, control, weight, manage)


def _check_manageable(
    nodes: Mapping[str, Node], names: Mapping[str, AnyNode], reading: Reading
) -> None:
    for node in nodes.values():
        if node.manage is not None:
            reading.complain(
                names[node.name],
                f"nodes.{node.name}.manage: needs the control channel's certificates, and it is"
                " 'insecure'",
            )


def _listeners(named: Mapping[str, AnyNode], reading: Reading) -> Iterator[Listener]:
    for name, inner in named.items():
        what = f"listeners.{name}"
        found = reading.section(inner, what, KEYS["listeners.NAME"], ("port", "origin"))
        addresses = _addresses(found.get("addresses"), f"{what}.addresses", reading)
        ports = [
            reading.integer(found[key], f"{what}.{key}", 1, 65535)
            for key in ("port", "origin")
            if key in found
        ]
        health = None
        if "health" in found:
            health = read_health(found["health"], f"{what}.health", reading)
        content: str | None = CONTENTS[0]
        if "content" in found:
            content = _one_of(f"{what}.content", CONTENTS, found["content"], reading)
        retry = _retry(found.get("retry"), f"{what}.retry", reading)
        match ports, content:
            case [int(port), int(origin)], str():
                yield Listener(name, port, addresses, origin, health, content, retry)


def _retry(node: AnyNode | None, what: str, reading: Reading) -> tuple[str, ...]:
    """
    Read the methods that may be tried at another node: those of RFC 9110, 9.2.2 alone.
    """
    methods = set()
    for item in reading.items(node, what) if node is not None else ():
        method = reading.text(item, what, " or ".join(RETRIABLE))
        if method in RETRIABLE:
            methods.add(method)
        elif method is not None:
            reading.complain(
                item,
                f"{what}: {method!r} is not one of {', '.join(RETRIABLE)}, which an origin can"
                " execute twice with the same result (RFC 9110, 9.2.2); safe methods are always"
                " retried",
            )
    return tuple(sorted(methods))


def _addresses(node: AnyNode | None, what: str, reading: Reading) -> tuple[bytes, ...]:
    addresses: list[bytes] = []
    for item in reading.items(node, what) if node is not None else ():
        address = reading.address(item, what)
        if address in addresses:
            reading.complain(item, f"{what}: {spelled(address)} is there twice")
        elif address is not None:
            addresses.append(address)
    return tuple(addresses)


def _optional(top: Mapping[str, AnyNode], document: AnyNode, reading: Reading) -> dict[str, Any]:
    """
    Read all keys but the three main sections.

    @return: keyword arguments of L{Config}.
    """
    values: dict[str, Any] = {"control": read_control(top.get("control"), document, reading)}
    if "device" in top:
        values["device"] = _word(top["device"], "device", _DEVICE, "the name of a device", reading)
    for key in ("run", "state"):
        if key in top:
            values[key] = reading.path(top[key], key)
    if len((values.get("run") or "").encode()) > _LONGEST_RUN:
        reading.complain(
            top["run"],
            f"run: want at most {_LONGEST_RUN} octets, for the address of the socket in it has"
            f" {_SOCKET_ADDRESS}",
        )
    if "slow-start" in top:
        values["slow_start"] = reading.seconds(top["slow-start"], "slow-start")
    if "user" in top:
        values["user"] = _word(top["user"], "user", _USER, "the name of a user", reading)
    for key, known in (("datapath", DATAPATHS), ("adoption", ADOPTIONS)):
        if key in top:
            values[key] = _one_of(key, known, top[key], reading)
    if "express" in top:
        values["express"] = reading.boolean(top["express"], "express")
    choice = read_policy_choice(top, "", reading)
    if choice is not None:
        values["policy"] = choice
    if "timeouts" in top:
        values["timeouts"] = Timeouts(**_timeouts(top["timeouts"], reading))
    if "limits" in top:
        values["limits"] = Limits(**_limits(top["limits"], reading))
    if "log" in top:
        values["log"] = read_log(top["log"], reading)
    if "window-scale" in top:
        values["window_scale"] = reading.integer(top["window-scale"], "window-scale", 0, 14)
    return values


def _word(
    node: AnyNode, what: str, pattern: re.Pattern[str], wanted: str, reading: Reading
) -> str | None:
    text = reading.text(node, what, wanted)
    if text is None or pattern.match(text):
        return text
    reading.complain(node, f"{what}: want {wanted}, not {text!r}")
    return None


def _one_of(what: str, known: Sequence[str], node: AnyNode, reading: Reading) -> str | None:
    name = reading.text(node, what, f"one of {', '.join(known)}")
    if name is not None and name not in known:
        key = what.rpartition(".")[2]
        reading.complain(node, f"{what}: unknown {key} {name!r}; {suggestion(name, known)}")
    return name


def _timeouts(node: AnyNode, reading: Reading) -> dict[str, float]:
    found = reading.mapping(node, "timeouts", KEYS["timeouts"])
    values: dict[str, float] = {}
    for attribute in fields(Timeouts):
        key = key_of(attribute.name)
        if key in found:
            value = reading.seconds(found[key], f"timeouts.{key}")
            if value is not None:
                values[attribute.name] = value
    return values


def _limits(node: AnyNode, reading: Reading) -> dict[str, int]:
    found = reading.mapping(node, "limits", KEYS["limits"])
    values: dict[str, int] = {}
    for attribute in fields(Limits):
        key = key_of(attribute.name)
        if key in found:
            value = reading.integer(found[key], f"limits.{key}", *attribute.metadata["range"])
            if value is not None:
                values[attribute.name] = value
    return values
