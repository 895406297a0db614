# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.node.host_watch} and L{btcp.datapath.raw.source_check}.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from btcp.datapath.interface import DatapathError, DeviceMissing, Repair
from btcp.datapath.raw.source_check import SourceCheck
from btcp.handoff.messages import Capabilities
from btcp.node.host_watch import INTERVAL, PATIENCE, HostFacts, HostWatch

_FACTS = HostFacts(
    Capabilities(mtu=1500, sack=True, timestamps=True, window_scaling=True), cookies=True
)


class FakeDatapath:
    """
    @ivar found: what the next look finds: repairs, or a problem.
    """

    def __init__(self) -> None:
        self.found: list[Repair] | Exception = []

    def verify(self) -> list[Repair]:
        if isinstance(self.found, Exception):
            raise self.found
        found, self.found = self.found, []
        return found


class Reactor(Clock):
    """
    Has no descriptors.
    """

    def addReader(self, reader: object) -> None:
        """
        See C{IReactorFDSet}.
        """

    def removeReader(self, reader: object) -> None:
        """
        See C{IReactorFDSet}.
        """


class HostWatchTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = Reactor()
        self.datapath = FakeDatapath()
        datapath: Any = self.datapath
        self.counters: Counter[str] = Counter()
        self.facts = _FACTS
        self.changes: list[tuple[HostFacts, HostFacts]] = []
        self.failures: list[str] = []
        self.watch = HostWatch(
            self.reactor,
            datapath,
            self.counters,
            lambda: self.facts,
            lambda *facts: self.changes.append(facts),
            self.failures.append,
        )
        self.watch.startService()
        self.addCleanup(self.watch.stopService)

    def test_repairs_are_counted(self) -> None:
        self.datapath.found = [Repair("tap", "it was down"), Repair("filter", "it was gone")]
        self.reactor.advance(INTERVAL)
        self.assertEqual(self.counters, {"host.repaired.tap": 1, "host.repaired.filter": 1})

    def test_messages_of_one_turn_make_one_look(self) -> None:
        self.datapath.found = [Repair("tap", "it was down")]
        self.watch.soon()
        self.watch.soon()
        self.reactor.advance(0)
        self.assertEqual(self.counters, {"host.repaired.tap": 1})

    def test_change_of_facts_is_passed_on_once(self) -> None:
        self.facts = evolve(_FACTS, cookies=False)
        self.reactor.pump([INTERVAL] * 3)
        self.assertEqual(self.changes, [(_FACTS, self.facts)])
        self.assertEqual(self.facts.differences(_FACTS), "tcp_syncookies on -> off")

    def test_device_is_missing_for_long(self) -> None:
        """
        The node waits for the device: a new start would not find it either.
        """
        self.datapath.found = DeviceMissing("there is no device eth0")
        self.reactor.pump([INTERVAL] * int(3 * PATIENCE))
        self.assertEqual(self.failures, [])
        self.assertEqual(self.counters, {"host.failed": 1})

    def test_repair_fails_for_long(self) -> None:
        """
        The node ends, once, and says why.
        """
        self.datapath.found = DatapathError("the hook is in use")
        self.reactor.pump([INTERVAL] * int(PATIENCE))
        self.assertEqual(self.failures, [])
        self.reactor.pump([INTERVAL] * int(PATIENCE))
        self.assertEqual(self.failures, ["the hook is in use"])

    def test_repair_fails_for_a_moment(self) -> None:
        for _ in range(3):
            self.datapath.found = DatapathError("the hook is in use")
            self.reactor.pump([INTERVAL] * int(PATIENCE - 1))
            self.datapath.found = []
            self.reactor.advance(INTERVAL)
        self.assertEqual(self.failures, [])


class SourceCheckTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.settings = Path(self.mktemp())
        for name, value in {"all": 1, "default": 0, "eth0": 0, "eth1": 2, "btcp0": 0}.items():
            (self.settings / name).mkdir(parents=True)
            (self.settings / name / "rp_filter").write_text(f"{value}\n")
        self.check = SourceCheck("btcp0", self.settings)

    def values(self) -> dict[str, int]:
        paths = self.settings.glob("*/rp_filter")
        return {path.parent.name: int(path.read_text()) for path in paths}

    def effective(self) -> dict[str, int]:
        values = self.values()
        return {name: max(values["all"], value) for name, value in values.items() if name != "all"}

    def test_all_devices_but_ours_stay_strict(self) -> None:
        before = self.effective()
        self.assertEqual([each.part for each in self.check.verify()], ["sysctl"])
        self.assertEqual(self.effective(), {**before, "btcp0": 0})
        self.assertEqual(self.check.verify(), [])
