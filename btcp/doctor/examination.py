# SPDX-License-Identifier: MIT
"""
The list of all checks, and their execution.  A check precedes those that depend on its subject.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from attrs import frozen

from btcp.config import Config
from btcp.doctor import kernel, network, peers, ports, remains
from btcp.doctor.finding import Finding, Verdict, fail
from btcp.doctor.host import Host

_HOST: dict[str, Callable[[Host, Config | None], Iterable[Finding]]] = {
    "tun": kernel.check_tun,
    "nftables": kernel.check_nftables,
    "ebpf": kernel.check_ebpf,
    "cookie": kernel.check_cookie,
    "capabilities": kernel.check_capabilities,
    "sysctls": network.check_sysctls,
    "firewall": network.check_firewall,
}
"""Checks that need no configuration, by name."""

_NODE: dict[str, Callable[[Host, Config], Iterable[Finding]]] = {
    "user": kernel.check_user,
    "device": network.check_device,
    "offloads": network.check_offloads,
    "shared": network.check_shared,
    "daemon": remains.check_daemon,
    "remains": remains.check_remains,
    "control": ports.check_control,
    "origins": ports.check_origins,
    "listeners": ports.check_listeners,
    "certificates": peers.check_certificates,
    "peers": peers.check_peers,
    "mtu": peers.check_mtu,
    "clock": peers.check_clock,
}

NAMES = (*_HOST, *_NODE)


@frozen
class Checked:
    """
    A finding with the name of the check that made it.
    """

    check: str
    finding: Finding

    def shown(self) -> dict[str, object]:
        """
        Convert the finding for JSON output.
        """
        its = self.finding
        return {
            "check": self.check,
            "verdict": its.verdict.value,
            "says": its.says,
            "remedy": list(its.remedy),
        }


def examine(host: Host, config: Config | None) -> Iterator[Checked]:
    """
    Run all checks.

    @param config: the node's configuration; C{None} runs only the checks that need none.
    @return: the findings, as the checks make them.
    """
    for name, check in _HOST.items():
        yield from _one(name, check, host, config)
    if config is not None:
        for name, node_check in _NODE.items():
            yield from _one(name, node_check, host, config)


def _one(name: str, check: Callable[[Host, Any], Iterable[Finding]], *at: Any) -> Iterator[Checked]:
    try:
        for finding in check(*at):
            yield Checked(name, finding)
    except Exception as problem:  # one broken check must not hide the others
        yield Checked(name, fail(f"the check failed: {problem!r}"))


def text(results: Iterable[Checked]) -> Iterator[str]:
    """
    Format findings and their remedies as lines of text.
    """
    width = max(map(len, NAMES))
    for result in results:
        verdict = result.finding.verdict
        word = verdict.value if verdict is Verdict.FINE else verdict.value.upper()
        yield f"{word}  {result.check.ljust(width)}  {result.finding.says}"
        for line in result.finding.remedy:
            yield f"{' ' * (width + 8)}{line}"


def failed(results: Sequence[Checked]) -> bool:
    """
    Return whether any finding is a failure.
    """
    return any(each.finding.verdict is Verdict.FAIL for each in results)
