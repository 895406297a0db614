# SPDX-License-Identifier: MIT
"""
The section C{control}: credentials of the control channel and its heartbeat.
"""

from __future__ import annotations

from collections.abc import Mapping

from btcp.config.document import AnyNode
from btcp.config.keys import KEYS
from btcp.config.reading import Reading
from btcp.config.values import HEARTBEAT, Control, Credentials

_FILES = ("certificate", "key", "authority")
_TLS = "'certificate', 'key' and 'authority'"


def read_control(node: AnyNode | None, document: AnyNode, reading: Reading) -> Control | None:
    """
    Read the section.

    @param node: the section; L{None} if the file has none.
    @param document: the whole file, for problems with an absent section.
    @return: L{None} if C{reading} received problems.
    """
    before = len(reading.problems)
    found = reading.mapping(node, "control", KEYS["control"]) if node is not None else {}
    insecure = None
    if "insecure" in found:
        insecure = reading.boolean(found["insecure"], "control.insecure")
    paths = [reading.path(found[key], f"control.{key}") for key in _FILES if key in found]
    if len(reading.problems) == before:
        _check_protection(bool(insecure), found, node or document, reading)
    heartbeat: float | None = HEARTBEAT
    if "heartbeat" in found:
        heartbeat = reading.seconds(found["heartbeat"], "control.heartbeat")
    match paths:
        case [str(certificate), str(key), str(authority)] if heartbeat:
            return Control(Credentials(certificate, key, authority), heartbeat)
        case [] if heartbeat:
            return Control(None, heartbeat)
    return None


def _check_protection(
    insecure: bool, found: Mapping[str, AnyNode], node: AnyNode, reading: Reading
) -> None:
    """
    Report a problem unless the section has either all three files or C{insecure: true}.
    """
    missing = [key for key in _FILES if key not in found]
    if insecure and len(missing) < len(_FILES):
        want = f"either 'insecure: true' or {_TLS}, not both"
        reading.complain(found["insecure"], f"control.insecure: want {want}")
    elif not insecure and len(missing) == len(_FILES):
        reading.complain(
            found.get("insecure", node),
            f"control: say {_TLS} for TLS (btcp ca makes them), or 'insecure: true' for a network"
            " of its own, where it is neither encrypted nor authenticated",
        )
    elif not insecure:
        for key in missing:
            reading.complain(node, f"control: {key!r} is missing; TLS needs {_TLS}")
