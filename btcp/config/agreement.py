# SPDX-License-Identifier: MIT
"""
Checks across nodes and listeners: conflicting addresses and ports, missing address families.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address

from btcp.config.document import AnyNode
from btcp.config.reading import Reading
from btcp.config.values import Check, Listener, Node

_FAMILIES = {4: "IPv4", 16: "IPv6"}


def spelled(key: bytes | tuple[str, int]) -> str:
    """
    Format a packed address, or an address and a port, as in the file.
    """
    if isinstance(key, bytes):
        return str(ip_address(key))
    address, port = key
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def check_agreement(
    nodes: Mapping[str, Node],
    node_places: Mapping[str, AnyNode],
    listeners: tuple[Listener, ...],
    listener_places: Mapping[str, AnyNode],
    reading: Reading,
) -> None:
    """
    Report conflicts between nodes and listeners that are valid by themselves.

    @param node_places: node names to document nodes, for the problems' line numbers.
    @param listener_places: the same for listeners.
    @param reading: receives the problems.
    """
    everywhere = tuple(address for node in nodes.values() for address in node.addresses)
    taken: dict[tuple[bytes, int], str] = {}
    for node in nodes.values():
        for what, end in (("control channel", node.control), ("shell's port", node.manage)):
            if end is not None:
                key = ip_address(end[0]).packed, end[1]
                use = taken.setdefault(key, f"the {what} of node {node.name!r}")
                if not use.startswith(f"the {what}"):
                    place = node_places[node.name]
                    reading.complain(place, f"nodes.{node.name}: {spelled(end)} is {use}")
    for listener in listeners:
        place = listener_places[listener.name]
        addresses = listener.addresses or everywhere
        _check_ports(listener, addresses, everywhere, taken, place, reading)
        _check_families(listener, addresses, nodes, node_places, reading)
        _check_client(listener, addresses, place, reading)
        _check_probe(listener, place, reading)


def _check_ports(
    listener: Listener,
    addresses: tuple[bytes, ...],
    everywhere: tuple[bytes, ...],
    taken: dict[tuple[bytes, int], str],
    place: AnyNode,
    reading: Reading,
) -> None:
    what = f"listeners.{listener.name}"
    for address in everywhere:
        # Listeners may share an origin, but not use a control or management port as one: the
        # datapath takes packets from the origin port, so the channel would lose its packets.
        use = taken.get((address, listener.origin), "")
        if use.startswith("the "):
            reading.complain(place, f"{what}: origin {listener.origin} is {use}")
    for address in addresses:
        end = (address, listener.port)
        use = taken.setdefault(end, f"listener {listener.name!r}")
        if use != f"listener {listener.name!r}":
            at = spelled((str(ip_address(address)), listener.port))
            reading.complain(place, f"{what}: {at} is already {use}")


def _check_client(
    listener: Listener, addresses: tuple[bytes, ...], place: AnyNode, reading: Reading
) -> None:
    client = listener.health.client if listener.health is not None else None
    packed = ip_address(client).packed if client is not None else None
    if packed is None:
        return
    what = f"listeners.{listener.name}.health.client"
    if len(packed) not in {len(address) for address in addresses}:
        family = _FAMILIES[len(packed)]
        reading.complain(place, f"{what}: the listener has no {family} address")
    elif packed in addresses:
        reading.complain(place, f"{what}: {client} is an address of the cluster")


def _check_probe(listener: Listener, place: AnyNode, reading: Reading) -> None:
    check = listener.health
    if check is None or check.kind != "handoff" or listener.content != "tls":
        return
    usual = Check(kind=check.kind)
    for key in ("path", "status"):
        if getattr(check, key) != getattr(usual, key):
            what = f"listeners.{listener.name}.health.{key}"
            reading.complain(place, f"{what}: a handoff of 'tls' content has none")


def _check_families(
    listener: Listener,
    addresses: tuple[bytes, ...],
    nodes: Mapping[str, Node],
    node_places: Mapping[str, AnyNode],
    reading: Reading,
) -> None:
    # Any node may be chosen to answer, and it answers in the client's family.
    used = {len(address) for address in addresses}
    for node in nodes.values():
        for size in sorted(used - {len(address) for address in node.addresses}):
            reading.complain(
                node_places[node.name],
                f"nodes.{node.name}.addresses: want an {_FAMILIES[size]} address too, as"
                f" listener {listener.name!r} has one",
            )
