# SPDX-License-Identifier: MIT
"""
Compiled decisions: the partition map and the policies' choices in the kernel's tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from twisted.logger import Logger

from btcp.cluster.placement import Placement
from btcp.datapath.ebpf.abi import LEASES, LONGEST_HOST, LONGEST_PATH, MOST_TURNS
from btcp.datapath.ebpf.express import (
    MOST_HOSTS,
    MOST_PREFIXES,
    MOST_SETS,
    ExpressTables,
)
from btcp.partition.compiled import DAEMON, CompiledMap, compile_map
from btcp.partition.contract import PartitionMap, ReplicaSet

_BASE = 1 << 16
"""Offset between the scope numbers of two successive maps."""

_SETS = MOST_SETS // 2
"""Maximum number of replica sets of one map; number 0 stands for none.  Two maps are in the tables
while one replaces the other."""

log = Logger()


class Decisions:
    """
    Writer of the kernel's decision tables, which follow the placement.

    @ivar scope: the default scope, see L{btcp.datapath.ebpf.express.Plan}.
    @ivar hosts: whether there are scopes of hosts, see L{btcp.datapath.ebpf.express.Plan}.
    """

    def __init__(
        self, tables: ExpressTables, placement: Placement, numbers: Mapping[str, int]
    ) -> None:
        """
        @param numbers: node names to destination numbers, for nodes that have one.
        """
        self.scope = DAEMON
        self.hosts = False
        self._tables = tables
        self._placement = placement
        self._numbers = numbers
        self._partition: PartitionMap | None = None
        self._half = 0
        self._sets: dict[ReplicaSet, int] = {}
        self._rules: dict[int, str] = {}
        self._turns: dict[int, list[int]] = {}
        self._prefixes: dict[tuple[int, bytes], int] = {}
        self._hosts: set[bytes] = set()

    def renew(self) -> None:
        """
        Update the tables after a change of the placement.  Decisions that the kernel makes during
        the update follow either the old or the new placement.
        """
        if self._partition is not self._placement.partition:
            self._partition = self._placement.partition
            self._replace(_fitting(compile_map(self._partition)))
        for replicas, number in self._sets.items():
            self._take_turns(number, replicas)

    def rule(self, number: int) -> str | None:
        """
        Return the rule of a replica set, as text for the access log.

        @param number: the number of a replica set of this map or the previous one.
        """
        return self._rules.get(number)

    def _take_turns(self, number: int, replicas: ReplicaSet) -> None:
        names = self._placement.cycle(replicas, MOST_TURNS)
        known = all(name in self._numbers for name in names)
        turns = [self._numbers[name] for name in names] if known else []
        if self._turns.get(number) != turns:
            self._turns[number] = turns
            self._tables.turns(number, turns)

    def _replace(self, table: CompiledMap) -> None:
        """
        Replace the map: add new entries first, then refer to them.  L{forget_outdated} removes the
        old ones.
        """
        self._half ^= 1
        base = self._half * _BASE
        before, old_hosts = self._prefixes, self._hosts
        self._number_sets(table)
        self._prefixes = {
            (base + scope, path): number for (scope, path), number in self._packed(table).items()
        }
        self._tables.add_prefixes(self._prefixes)
        # The kernel leaves requests with longer host names to the daemon.
        hosts = {
            host.encode(): scope for host, scope in table.hosts.items() if len(host) <= LONGEST_HOST
        }
        for host, scope in hosts.items():
            self._tables.scope(host, base + scope)
        self.scope = base + table.default_scope if table.default_scope != DAEMON else DAEMON
        self.hosts = bool(table.hosts)
        self._hosts = set(hosts)
        self._outdated = before, old_hosts - self._hosts

    def _packed(self, table: CompiledMap) -> dict[tuple[int, bytes], int]:
        """
        Convert the map's prefixes: scope and prefix in octets to the number of a replica set.
        """
        found, longer = {}, {}
        for (scope, text), replicas in table.prefixes.items():
            path = text.encode("utf-8", "surrogateescape")
            if len(path) > LONGEST_PATH:
                longer[scope, path[:LONGEST_PATH]] = 0
            else:
                found[scope, path] = self._sets[replicas]
        # 0: the kernel cannot tell which rule a truncated prefix leads to; the daemon decides.
        return found | longer

    def forget_outdated(self) -> None:
        """
        Remove the entries of the previous map, after the plan has been updated with L{scope} and
        L{hosts}.
        """
        prefixes, hosts = self._outdated
        for host in hosts:
            self._tables.forget_host(host)
        self._tables.remove_prefixes(prefixes)
        self._outdated = {}, set()

    _outdated: tuple[dict[tuple[int, bytes], int], set[bytes]] = {}, set()

    def _number_sets(self, table: CompiledMap) -> None:
        first = self._half * _SETS
        self._sets = {}
        for replicas in table.prefixes.values():
            self._sets.setdefault(replicas, first + len(self._sets) + 1)
        for replicas, number in self._sets.items():
            self._rules[number] = replicas.rule
            self._turns.pop(number, None)
            self._take_turns(number, replicas)


_NOTHING = CompiledMap({}, DAEMON, {})


def _fitting(table: CompiledMap | None) -> CompiledMap:
    """
    Return the map if it fits into the kernel's tables, else one that leaves all to the daemon.
    """
    if table is None:
        return _NOTHING
    sets = len(set(table.prefixes.values()))
    # Half of each table, because both maps are in it during a replacement.
    if (
        len(table.prefixes) <= MOST_PREFIXES // 2
        and len(table.hosts) <= MOST_HOSTS // 2
        and sets < _SETS - 1
    ):
        return table
    log.warn(
        "the map is too large for the kernel; the daemon hands off: {prefixes} prefixes, "
        "{hosts} hosts, {sets} replica sets",
        prefixes=len(table.prefixes),
        hosts=len(table.hosts),
        sets=sets,
    )
    return _NOTHING


def numbered(names: Iterable[str], lease: Callable[[str], int]) -> dict[str, int]:
    """
    Number the nodes as destinations.  The numbers of their leases are used, which persist in the
    kernel across restarts of the daemon, like the flow entries that contain them.

    @param lease: returns the number of a node's lease.
    @return: node names to numbers, for as many nodes as there are numbers.
    """
    numbers = {name: lease(name) for name in sorted(names)}
    return {name: number for name, number in numbers.items() if number < LEASES - 1}
