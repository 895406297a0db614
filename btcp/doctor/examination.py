# SPDX-License-Identifier: MIT
"""
All checks, in the order in which one thing rests on another.
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
"""Those that can do without a configuration."""

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
    @ivar check: its name.
    """

    check: str
    finding: Finding

    def shown(self) -> dict[str, object]:
        """
        For JSON.
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
    Look at everything.

    @param config: C{None}: at what can be looked at without.
    """
    for name, check in _HOST.items():
        yield from _one(name, check, host, config)
    if config is not None:
        for name, its in _NODE.items():
            yield from _one(name, its, host, config)


def _one(name: str, check: Callable[[Host, Any], Iterable[Finding]], *at: Any) -> Iterator[Checked]:
    try:
        for finding in check(*at):
            yield Checked(name, finding)
    except Exception as problem:  # one look that fails must not hide the others
        yield Checked(name, fail(f"cannot look: {problem!r}"))


def text(results: Iterable[Checked]) -> Iterator[str]:
    """
    @return: lines for people.
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
    Whether anything was a failure.
    """
    return any(each.finding.verdict is Verdict.FAIL for each in results)
