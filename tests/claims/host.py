# SPDX-License-Identifier: MIT
"""
What a host's kernel says of itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from btcp.lab.cluster import Lab

_COMMANDS = {
    "links": "ip -details link",
    "addresses": "ip address",
    "rules": "ip rule; ip -6 rule",
    "routes": "ip route show table all; ip -6 route show table all",
    "packet filter": "nft list ruleset",
    "traffic control": "tc qdisc; for to in ingress egress; do tc filter show dev eth0 $to; done",
    "settings": "sysctl --all --ignore --pattern ^net",
    "modules": "cut -d' ' -f1 /proc/modules | sort",
    "kernel": "uname -rv; cat /proc/sys/kernel/tainted",
}

Snapshot = Mapping[str, list[str]]


def snapshot(lab: Lab, host: str) -> Snapshot:
    """
    @return: all that a program could have changed there, by kind, in lines.
    """
    return {
        kind: lab.exec(host, ["sh", "-c", command]).stdout.decode().splitlines()
        for kind, command in _COMMANDS.items()
    }


def added(before: Snapshot, after: Snapshot) -> dict[str, list[str]]:
    """
    @return: the lines that there were not before, by kind, where there are any.
    """
    return _lacking(after, before)


def removed(before: Snapshot, after: Snapshot) -> dict[str, list[str]]:
    """
    @return: the lines that are no more, by kind, where there are any.
    """
    return _lacking(before, after)


def _lacking(some: Snapshot, others: Snapshot) -> dict[str, list[str]]:
    lines = {kind: [line for line in some[kind] if line not in set(others[kind])] for kind in some}
    return {kind: found for kind, found in lines.items() if found}


def tcp(lab: Lab, host: str) -> dict[str, int]:
    """
    The kernel's own counters of RFC 4022, such as C{PassiveOpens}.
    """
    text = lab.exec(host, ["cat", "/proc/net/snmp"]).stdout.decode()
    names, values = re.findall(r"^Tcp: (.*)$", text, re.MULTILINE)
    return dict(zip(names.split(), map(int, values.split()), strict=True))
