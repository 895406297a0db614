# SPDX-License-Identifier: MIT
"""
The nftables table that diverts packets to the daemon and keeps them from the local TCP, which would
reset connections that it does not know.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable
from ipaddress import ip_address

from twisted.logger import Logger

from btcp.datapath.interface import DatapathError, End, Repair
from btcp.datapath.raw.device import index
from btcp.datapath.raw.netlink import ruleset_generation

TABLE = "btcp"
MARK = 0xB7C9
"""Firewall mark of packets that the daemon sends, which must not be diverted to it."""

# The "drop" on egress is congestion to the TCP that sends.  It concerns no flow: packets of its
# origin match the rules before it, even where the origin's port is the listener's.
_RULES = """\
add table netdev {table}
delete table netdev {table}
table netdev {table} {{
    comment "made by btcp; removed when it stops"
    set listeners4 {{ type ipv4_addr . inet_service; {listeners4} }}
    set listeners6 {{ type ipv6_addr . inet_service; {listeners6} }}
    set origins4 {{ type ipv4_addr . inet_service; {origins4} }}
    set origins6 {{ type ipv6_addr . inet_service; {origins6} }}
    set fronts4 {{ type ipv4_addr; {fronts4} }}
    set fronts6 {{ type ipv6_addr; {fronts6} }}
    chain ingress {{
        type filter hook ingress device "{device}" priority -300; policy accept;
        meta pkttype != host accept
        ip daddr . tcp dport @listeners4 fwd to "{tap}"
        ip6 daddr . tcp dport @listeners6 fwd to "{tap}"
        ip daddr . tcp dport @origins4 fwd to "{tap}"
        ip6 daddr . tcp dport @origins6 fwd to "{tap}"
        ip daddr @fronts4 icmp type 3 icmp code 4 fwd to "{tap}"
        ip6 daddr @fronts6 icmpv6 type 2 fwd to "{tap}"
    }}
    chain egress {{
        type filter hook egress device "{device}" priority 300; policy accept;
        meta mark {mark} accept
        ip saddr . tcp sport @origins4 fwd to "{tap}"
        ip6 saddr . tcp sport @origins6 fwd to "{tap}"
        ip saddr . tcp sport @listeners4 drop
        ip6 saddr . tcp sport @listeners6 drop
    }}
}}
"""

log = Logger()


def nft(script: str) -> str:
    """
    Run an nft script, which takes effect entirely or not at all.

    @param script: the input of C{nft -f}.
    @return: its output.
    @raise DatapathError: if nft fails or is missing.
    """
    try:
        done = subprocess.run(
            ["nft", "-f", "-"],
            input=script,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except OSError as problem:
        raise DatapathError(f"cannot run nft: {problem.strerror}; install nftables") from problem
    if done.returncode:
        first = done.stderr.strip().splitlines()[0] if done.stderr.strip() else "no reason given"
        raise DatapathError(f"nft refused the table of btcp: {first}")
    return done.stdout


def _state(device: str) -> object:
    """
    Make a value that changes whenever the table may have changed.  It includes the interface index,
    because chains are removed with their device without a new ruleset generation.
    """
    return ruleset_generation(), index(device)


class Guard:
    """
    The table, from L{set_up} to L{take_down}.
    """

    def __init__(
        self,
        device: str,
        tap: str,
        listeners: Iterable[End],
        origins: Iterable[End],
        run: Callable[[str], str] = nft,
        state: Callable[[str], object] = _state,
    ) -> None:
        """
        @param device: the cluster-facing device.
        @param tap: the device that packets are diverted to.
        @param listeners: endpoints of the listeners.
        @param origins: endpoints of the origins.
        @param run: runs a script, see L{nft}.
        @param state: returns a device's state, see L{_state}.
        """
        self._device = device
        self._tap = tap
        self._listeners = sorted(set(listeners))
        self._origins = sorted(set(origins))
        self._run = run
        self._state = state
        self._expected = ""
        self._verified: object = None

    def rules(self) -> str:
        """
        Compose the script that creates the table, replacing an existing one.
        """
        fronts = sorted({address for address, _ in self._listeners})
        return _RULES.format(
            table=TABLE,
            device=self._device,
            tap=self._tap,
            mark=MARK,
            listeners4=_ends(self._listeners, 4),
            listeners6=_ends(self._listeners, 16),
            origins4=_ends(self._origins, 4),
            origins6=_ends(self._origins, 16),
            fronts4=_elements(str(ip_address(each)) for each in fronts if len(each) == 4),
            fronts6=_elements(str(ip_address(each)) for each in fronts if len(each) == 16),
        )

    def set_up(self) -> None:
        """
        Create the table.

        @raise DatapathError: if the host does not support it.
        """
        self.clear()
        self._make()

    def _make(self) -> None:
        self._run(self.rules())
        self._expected = self._listed()
        self._verified = self._state(self._device)

    def _listed(self) -> str:
        return self._run(f"list table netdev {TABLE}\n")

    def verify(self) -> list[Repair]:
        """
        Restore the table if it differs from the one that L{set_up} created.

        @raise DatapathError: if that fails.
        """
        state = self._state(self._device)
        if state == self._verified:
            return []
        try:
            found = self._listed()
        except DatapathError:
            found = ""
        if found == self._expected:
            self._verified = state
            return []
        self._make()
        how = "changed" if found else "removed"
        return [Repair("table", f"table netdev {TABLE} had been {how}")]

    def clear(self) -> bool:
        """
        Remove the table of a crashed daemon.

        @return: whether it existed.
        """
        if f"table netdev {TABLE}" not in self._run("list tables netdev\n").splitlines():
            return False
        log.warn("removing the packet filter table of a crashed daemon")
        self.take_down()
        return True

    def take_down(self) -> None:
        """
        Remove the table, if it exists.
        """
        self._run(f"add table netdev {TABLE}\ndelete table netdev {TABLE}\n")

    def leave(self) -> None:
        """
        Remove the table, which is of no use to a later daemon.
        """
        self.take_down()


def _ends(ends: Iterable[End], size: int) -> str:
    return _elements(f"{ip_address(at)} . {port}" for at, port in ends if len(at) == size)


def _elements(texts: Iterable[str]) -> str:
    joined = ", ".join(texts)
    return f"elements = {{ {joined} }}" if joined else ""
