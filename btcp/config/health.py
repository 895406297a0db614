# SPDX-License-Identifier: MIT
"""
The section C{health} of a listener: active health checks of its origins.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Any

from btcp.config.document import AnyNode, Sequence
from btcp.config.keys import KEYS
from btcp.config.reading import Reading, suggestion
from btcp.config.values import CHECKS, Check

_STATUS = re.compile(r"([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?\Z")
_HOST = re.compile(r"[!-~]{1,255}\Z")
_PATH = re.compile(r"/[!-~]{0,2000}\Z")
_NEEDLESS = {
    "http": ("client",),
    "https": ("client",),
    "tcp": ("client", "host", "path", "status", "body"),
    "tls": ("client", "path", "status", "body"),
    "handoff": ("body",),
}


def read_health(node: AnyNode, what: str, reading: Reading) -> Check | None:
    """
    Read the section.

    @param what: the section's name in problems.
    @return: C{None} if C{reading} received problems.
    """
    before = len(reading.problems)
    found = reading.section(node, what, KEYS["listeners.NAME.health"], ("kind",))
    values: dict[str, Any] = {}
    if "kind" in found:
        values["kind"] = _read_kind(found["kind"], f"{what}.kind", reading)
    for key, inner in found.items():
        name = f"{what}.{key}"
        if key in ("interval", "fast-interval", "timeout", "window"):
            values[key.replace("-", "_")] = reading.seconds(inner, name)
        elif key in ("rise", "fall"):
            values[key] = reading.integer(inner, name, 1, 1000)
        elif key == "jitter":
            values[key] = reading.integer(inner, name, 0, 50)
        elif key == "client":
            packed = reading.address(inner, name)
            values[key] = None if packed is None else str(ip_address(packed))
        elif key == "host":
            values[key] = _read_text(inner, name, _HOST, "a host name", reading)
    values |= _read_web(found, what, reading)
    if len(reading.problems) == before:
        _check_kind(values["kind"], found, node, what, reading)
    return Check(**values) if len(reading.problems) == before else None


def _check_kind(
    kind: str, found: dict[str, AnyNode], node: AnyNode, what: str, reading: Reading
) -> None:
    for key in _NEEDLESS[kind]:
        if key in found:
            reading.complain(found[key], f"{what}.{key}: a check of kind {kind!r} has none")
    if kind == "handoff" and "client" not in found:
        reading.complain(node, f"{what}: 'client' is missing; a handoff has one")


def _read_web(found: dict[str, AnyNode], what: str, reading: Reading) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if "path" in found:
        wanted = "a path that starts with '/', as it is sent"
        values["path"] = _read_text(found["path"], f"{what}.path", _PATH, wanted, reading)
    if "status" in found:
        values["status"] = _read_status(found["status"], f"{what}.status", reading)
    if "body" in found:
        values["body"] = _read_pattern(found["body"], f"{what}.body", reading)
    return values


def _read_kind(node: AnyNode, what: str, reading: Reading) -> str | None:
    kind = reading.text(node, what, f"one of {', '.join(CHECKS)}")
    if kind is not None and kind not in CHECKS:
        reading.complain(node, f"{what}: unknown kind {kind!r}; {suggestion(kind, CHECKS)}")
    return kind


def _read_text(
    node: AnyNode, what: str, pattern: re.Pattern[str], wanted: str, reading: Reading
) -> str | None:
    text = reading.text(node, what, wanted)
    if text is None or pattern.match(text):
        return text
    reading.complain(node, f"{what}: want {wanted}, not {text!r}")
    return None


def _read_status(node: AnyNode, what: str, reading: Reading) -> tuple[tuple[int, int], ...]:
    items = reading.items(node, what) if isinstance(node, Sequence) else (node,)
    wanted = "a status or a range of them such as 200-399"
    ranges = []
    for item in items:
        text = reading.text(item, what, wanted)
        match = _STATUS.match(text) if text is not None else None
        if match is not None and int(match[1]) <= int(match[2] or match[1]):
            ranges.append((int(match[1]), int(match[2] or match[1])))
        elif text is not None:
            reading.complain(item, f"{what}: want {wanted}, not {text!r}")
    return tuple(ranges)


def _read_pattern(node: AnyNode, what: str, reading: Reading) -> str | None:
    text = reading.text(node, what, "a regular expression")
    if text is not None:
        try:
            re.compile(text.encode())
        except re.error as error:
            reading.complain(node, f"{what}: no regular expression: {error}")
    return text
