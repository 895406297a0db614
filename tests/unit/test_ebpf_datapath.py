# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.datapath.ebpf.datapath}, with an account of what a kernel would do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address
from typing import cast

from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from btcp.datapath.ebpf.abi import COUNTERS, Account
from btcp.datapath.ebpf.adoption import Adoption
from btcp.datapath.ebpf.datapath import EbpfDatapath
from btcp.datapath.ebpf.programs import Programs
from btcp.datapath.ebpf.reports import Reports
from btcp.datapath.interface import Core, DatapathError, Movement, Promise
from btcp.datapath.raw.datapath import TAP, RawDatapath
from btcp.handoff.actions import (
    Action,
    Admit,
    Deliver,
    Install,
    PassPacket,
    Remember,
    Remove,
    Retract,
    Transmit,
)
from btcp.handoff.memo import Relic
from btcp.handoff.messages import Capabilities, Endpoint, Handoff
from btcp.handoff.route import ENDING, EVERYTHING, Report, Reported, Route
from btcp.wire.build import compose
from btcp.wire.segment import ACK, RST, flow_key
from tests.unit.fake_ring import FakeRing

KEY = flow_key(ip_address("192.0.2.7").packed, 1000, ip_address("192.0.2.8").packed, 80)
ORDER = Handoff(
    id=1,
    listener="web",
    client=Endpoint(KEY[:4], 1000),
    front=Endpoint(KEY[4:8], 80),
    irs=1,
    iss=2,
    window=3,
    mss=1460,
    client_scale=9,
    front_scale=7,
    sack=True,
    tsval=4,
    front_tsval=5,
    acked=0,
    request=b"",
)


class FakePrograms:
    """
    What L{Programs} does, but for the kernel.

    @ivar accounts: of the routes in the table.
    @ivar punts: what each of them punts.
    @ivar room: for so many routes.
    @ivar passing: what passes as soon as the daemon has looked.
    @ivar told: names of the calls that changed the table.
    """

    def __init__(self) -> None:
        self.accounts: dict[bytes, Account] = {}
        self.punts: dict[bytes, int] = {}
        self.room = 3
        self.passing: list[tuple[int, int]] = []
        self.told: list[str] = []
        self.promised: Promise | None = None
        self.leases: dict[str, float] = {}
        self.memos: dict[bytes, bytes] = {}
        self.left: list[Relic] = []

    def remember(self, memos: Mapping[bytes, bytes]) -> int:
        self.told.append("remember")
        self.memos.update(memos)
        return max(len(self.memos) - self.room, 0)

    def relics(self) -> list[Relic]:
        for relic in self.left:
            if relic.route is not None:
                self.install([relic.route])
                self.accounts[relic.key] = evolve(
                    self.accounts[relic.key],
                    packets=relic.route.packets,
                    octets=relic.route.octets,
                )
        return self.left

    def install(self, routes: Iterable[Route]) -> list[bytes]:
        self.told.append("install")
        refused = []
        for route in routes:
            if route.key not in self.accounts and len(self.accounts) == self.room:
                refused.append(route.key)
                continue
            self.accounts[route.key] = Account(
                used=route.used,
                packets=0,
                octets=0,
                ack=route.ack,
                end=route.end,
                progress=route.progress,
                fin=route.fin,
                fin_acked=route.fin_acked,
            )
            self.punts[route.key] = route.punt
        return refused

    def amend(self, key: bytes, punt: int) -> bool:
        self.told.append("amend")
        if key in self.accounts:
            self.punts[key] = punt
        return key in self.accounts

    def halt(self) -> None:
        self.told.append("halt")
        self.punts.update(dict.fromkeys(self.punts, EVERYTHING))

    def remove(self, keys: Iterable[bytes]) -> None:
        self.told.append("remove")
        for key in keys:
            self.accounts.pop(key, None)
            self.memos.pop(key, None)

    def promise(self, promise: Promise | None) -> None:
        self.promised = promise

    def renew(self, lease: str, until: float) -> None:
        self.leases[lease] = until

    def report(self, take: Callable[[Reported], None]) -> FakeRing[Reported]:
        self.ring = FakeRing[Reported](take)
        return self.ring

    def account(self, key: bytes) -> Account | None:
        found = self.accounts.get(key)
        while found is not None and self.passing:
            self.passes(key, *self.passing.pop())
        return found

    def passes(self, key: bytes, octets: int, ack: int, *, now: float = 0.0, end: int = 0) -> None:
        """
        A packet that the kernel moves.
        """
        if self.punts[key] != EVERYTHING:
            self.passed(key, octets, ack, now=now, end=end)

    def passed(self, key: bytes, octets: int, ack: int, *, now: float = 0.0, end: int = 0) -> None:
        """
        The same, of a packet of which the kernel had decided that before.
        """
        old = self.accounts[key]
        self.accounts[key] = evolve(
            old,
            used=max(now, old.used),
            packets=old.packets + 1,
            octets=old.octets + octets,
            ack=ack,
            end=end or old.end,
            progress=old.progress or ack != old.ack,
        )

    def counters(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(COUNTERS)}


class FakeRaw:
    """
    @ivar done: what the raw datapath was asked to do.
    @ivar running: between start and stop.
    """

    def __init__(self) -> None:
        self.done: list[Movement] = []
        self.running = False
        self.left = False
        self.halted = False

    def start(self, core: Core, shell: object) -> None:
        self.running = True

    def halt(self) -> None:
        self.halted = True

    def stop(self) -> None:
        self.running = False

    def leave(self) -> None:
        self.running = False
        self.left = True

    def perform(self, movement: Movement) -> None:
        self.done.append(movement)


class FakeAdoption:
    """
    @ivar device: where the program is attached.
    @ivar admitted: the orders in the table.
    @ivar room: for so many.
    """

    def __init__(self, room: int = 1, problem: str = "") -> None:
        self.device: str | None = None
        self.admitted: dict[bytes, Handoff] = {}
        self.room = room
        self._problem = problem

    def set_up(self, tap: str) -> None:
        if self._problem:
            raise DatapathError(self._problem)
        self.device = tap

    def take_down(self) -> None:
        self.device = None

    def admit(self, orders: Mapping[bytes, Handoff]) -> int:
        refused = max(len(self.admitted) + len(orders) - self.room, 0)
        self.admitted.update(list(orders.items())[: len(orders) - refused])
        return refused

    def retract(self, keys: Iterable[bytes]) -> None:
        for key in keys:
            self.admitted.pop(key, None)


class FakeCore:
    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        self.reports: list[list[Reported]] = []
        self.problem: Exception | None = None

    def reported(self, reports: list[Reported], now: float) -> list[Action]:
        if self.problem is not None:
            raise self.problem
        self.reports.append(reports)
        return []


class FakeShell:
    def perform(self, actions: list[Action]) -> None:
        pass


class FakeReactor(Clock):
    """
    @ivar readers: who is told when there is something to read.
    """

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Reports] = []

    def addReader(self, reader: Reports) -> None:
        self.readers.append(reader)

    def removeReader(self, reader: Reports) -> None:
        self.readers.remove(reader)


class DatapathTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.raw, self.programs, self.core = FakeRaw(), FakePrograms(), FakeCore()
        self.reactor = FakeReactor()
        self.datapath = self.make(None)
        self.start(self.datapath)

    def make(self, adoption: FakeAdoption | None) -> EbpfDatapath:
        return EbpfDatapath(
            self.reactor,
            self.reactor.seconds,
            cast(RawDatapath, self.raw),
            cast(Programs, self.programs),
            cast(Adoption | None, adoption),
        )

    def start(self, datapath: EbpfDatapath) -> None:
        datapath.start(cast(Core, self.core), FakeShell())

    def perform(self, movement: Movement) -> None:
        """
        And see the turn of the reactor through.
        """
        self.datapath.perform(movement)
        self.reactor.advance(0)

    def route(self, number: int = 0, punt: int = ENDING) -> Route:
        """
        One of several, not installed.
        """
        key = KEY[:-4] + (1000 + number).to_bytes(2, "big") + KEY[-2:]
        return Route(key, None, local=False, punt=punt, ack=100, end=200, now=1.0)

    def installed(self, number: int = 0, punt: int = ENDING) -> Route:
        route = self.route(number, punt)
        self.perform(Install(route))
        return route


class AccountTests(DatapathTestCase):
    def test_kernel_packets_count(self) -> None:
        route = self.installed()
        self.programs.passes(route.key, 1000, 150, now=2.0, end=1200)
        self.programs.passes(route.key, 500, 160, now=3.0, end=1700)
        self.assertEqual((route.packets, route.octets), (0, 0))
        route.refresh()
        self.assertEqual((route.packets, route.octets, route.ack), (2, 1500, 160))
        self.assertEqual((route.end, route.used, route.progress), (1700, 3.0, True))

    def test_each_packet_counts_once(self) -> None:
        route = self.installed()
        for _ in range(3):
            self.programs.passes(route.key, 10, 100)
            route.refresh()
            route.refresh()
        self.assertEqual((route.packets, route.octets, route.progress), (3, 30, False))

    def test_both_add_up(self) -> None:
        """
        What came up and what did not, whichever was first.
        """
        route = self.installed()
        self.programs.passes(route.key, 10, 300)
        route.packets, route.octets, route.ack, route.used = 5, 50, 250, 9.0
        route.refresh()
        self.assertEqual((route.packets, route.octets), (6, 60))
        self.assertEqual((route.ack, route.used), (300, 9.0))
        route.ack = 400
        route.refresh()
        self.assertEqual((route.packets, route.ack), (6, 400))

    def test_numbers_wrap(self) -> None:
        route = self.route()
        route.ack, route.end = 2**32 - 10, 2**32 - 10
        self.perform(Install(route))
        self.programs.passes(route.key, 20, 10, end=10)
        route.refresh()
        self.assertEqual((route.ack, route.end), (10, 10))

    def test_progress_stays(self) -> None:
        route = self.route()
        route.progress = True
        self.perform(Install(route))
        route.refresh()
        self.assertTrue(route.progress)

    def test_removed(self) -> None:
        """
        The kernel knows nothing of it any more; what was known stays.
        """
        route = self.installed()
        self.programs.passes(route.key, 10, 150)
        route.refresh()
        self.perform(Remove(route.key))
        route.refresh()
        self.assertEqual((route.packets, route.octets, route.ack), (1, 10, 150))
        self.assertEqual(self.programs.accounts, {})


class AmendmentTests(DatapathTestCase):
    def amend(self, route: Route, punt: int) -> None:
        route.punt = punt
        self.perform(Install(route))

    def test_account_goes_on(self) -> None:
        route = self.installed()
        self.programs.passes(route.key, 10, 150)
        self.amend(route, 0)
        self.programs.passes(route.key, 20, 160)
        route.refresh()
        self.assertEqual((route.packets, route.octets, route.ack), (2, 30, 160))
        self.assertEqual(self.programs.told, ["install", "amend"])

    def test_nothing_is_lost(self) -> None:
        """
        A packet that passes just before the kernel hears that none is to pass.
        """
        route = self.installed()
        self.programs.passing.append((10, 150))
        route.refresh()
        self.assertEqual(route.octets, 0)
        self.amend(route, EVERYTHING)
        self.assertEqual((route.octets, route.ack), (10, 150))

    def test_and_back(self) -> None:
        route = self.installed()
        self.programs.passes(route.key, 10, 150)
        self.amend(route, EVERYTHING)
        self.programs.passes(route.key, 10, 160)
        route.octets, route.ack = 15, 155  # in Python, meanwhile
        self.amend(route, ENDING)
        self.programs.passes(route.key, 10, 170)
        route.refresh()
        self.assertEqual((route.packets, route.octets, route.ack), (2, 25, 170))

    def test_claim_is_replaced(self) -> None:
        """
        By a route with the same key, from the beginning.
        """
        claim = self.installed(punt=EVERYTHING)
        route = self.installed()
        self.programs.passes(route.key, 10, 150)
        route.refresh()
        claim.refresh()
        self.assertEqual((route.octets, claim.octets), (10, 0))

    def test_kernel_has_lost_it(self) -> None:
        route = self.installed()
        self.programs.accounts.clear()
        self.amend(route, 0)
        self.assertEqual(self.programs.punts[route.key], 0)
        self.assertIn(route.key, self.programs.accounts)


class HaltTests(DatapathTestCase):
    """
    From now on nothing passes unseen.
    """

    def test_one_route(self) -> None:
        """
        A packet that passes just before the kernel hears of it counts.
        """
        route = self.installed()
        self.programs.passing.append((10, 150))
        route.refresh()
        route.halt()
        self.assertEqual((route.octets, route.ack), (10, 150))
        self.assertEqual(self.programs.told, ["install", "amend"])

    def test_on_its_way(self) -> None:
        """
        A packet that had passed the check, and is in the account after it was read, counts when
        that is looked at again; the account is not replaced meanwhile.
        """
        route = self.installed()
        route.halt()
        route.punt = EVERYTHING
        self.datapath.perform(Install(route))
        self.reactor.advance(0)
        self.programs.passed(route.key, 10, 160)
        route.refresh()
        self.assertEqual((route.octets, route.ack), (10, 160))
        self.assertNotIn("install", self.programs.told[1:])

    def test_to_pass_again(self) -> None:
        """
        By an account that has what the daemon moved by itself.
        """
        route = self.installed()
        route.halt()
        route.octets = 100
        route.punt = RST
        self.datapath.perform(Install(route))
        self.reactor.advance(0)
        self.assertEqual(self.programs.told, ["install", "amend", "install"])
        self.programs.passes(route.key, 10, 160)
        route.refresh()
        self.assertEqual(route.octets, 110)

    def test_gone_and_back(self) -> None:
        route = self.installed()
        route.halt()
        route.punt = EVERYTHING
        self.datapath.perform(Remove(route.key))
        self.reactor.advance(0)
        self.datapath.perform(Install(route))
        self.reactor.advance(0)
        self.assertIn(route.key, self.programs.accounts)

    def test_before_it_is_installed(self) -> None:
        """
        There is nothing to be said to the kernel, and what waits for it still does.
        """
        route = self.route()
        self.datapath.perform(Install(route))
        route.halt()
        self.datapath.perform(Remove(route.key))
        self.reactor.advance(0)
        self.assertEqual(self.programs.told, ["remove"])

    def test_all(self) -> None:
        """
        Those that are still to be installed as well.
        """
        first, second = self.installed(1), self.route(2)
        self.programs.passes(first.key, 10, 150)
        self.datapath.perform(Install(second))
        self.datapath.halt()
        self.assertTrue(self.raw.halted)
        for route in (first, second):
            self.programs.passes(route.key, 10, 160)
            route.halt()
        self.assertEqual([first.octets, second.octets], [10, 0])
        self.assertEqual(self.programs.told[:3], ["install", "install", "halt"])

    def test_nothing_is_changed_after_the_end(self) -> None:
        """
        The programs, and with them their maps, are gone.
        """
        self.raw.stop = lambda: self.datapath.perform(Install(self.route()))  # type: ignore[method-assign]
        self.datapath.stop()
        self.reactor.advance(1)
        self.assertEqual(self.programs.told, [])


class RelicTests(DatapathTestCase):
    """
    What is left for the next daemon, and what was left by the one before.
    """

    def test_memo(self) -> None:
        """
        Is kept as long as the route.
        """
        route = self.installed()
        self.perform(Remember(route.key, b"memo"))
        self.assertEqual(self.programs.memos, {route.key: b"memo"})
        self.perform(Remove(route.key))
        self.assertEqual(self.programs.memos, {})

    def test_no_room(self) -> None:
        """
        The flow is moved all the same.
        """
        for number in range(self.programs.room + 1):
            route = self.installed(number)
            self.perform(Remember(route.key, b""))
        self.assertEqual(self.core.counters["ebpf.unremembered"], 1)

    def test_account_goes_on(self) -> None:
        """
        From where it stands: what passed before is not counted twice.
        """
        route = self.route()
        route.packets, route.octets = 7, 700
        self.programs.left = [Relic(route.key, route, b"memo"), Relic(b"other", None, b"memo")]
        self.assertEqual(self.datapath.relics(), self.programs.left)
        self.assertEqual(self.raw.done, [Install(route)])
        self.programs.passes(route.key, 10, 150)
        route.refresh()
        self.assertEqual((route.packets, route.octets, route.ack), (8, 710, 150))

    def test_leave(self) -> None:
        self.datapath.leave()
        self.assertTrue(self.raw.left)


class FullTableTests(DatapathTestCase):
    def test_raw_goes_on(self) -> None:
        routes = [self.installed(number) for number in range(self.programs.room + 2)]
        self.assertEqual(self.core.counters, {"ebpf.table-full": 2})
        self.assertEqual([cast(Install, each).route for each in self.raw.done], routes)
        for route in routes:
            route.refresh()
        self.assertEqual(len(self.programs.accounts), self.programs.room)

    def test_room_again(self) -> None:
        routes = [self.installed(number) for number in range(self.programs.room + 1)]
        self.perform(Remove(routes[0].key))
        self.perform(Install(routes[-1]))
        self.programs.passes(routes[-1].key, 10, 150)
        routes[-1].refresh()
        self.assertEqual(routes[-1].octets, 10)

    def test_known_ones_can_change(self) -> None:
        routes = [self.installed(number) for number in range(self.programs.room)]
        self.perform(Install(routes[0]))
        self.assertEqual(self.core.counters, {})


class AdmissionTests(DatapathTestCase):
    def admitting(self, adoption: FakeAdoption) -> EbpfDatapath:
        datapath = self.make(adoption)
        self.start(datapath)
        return datapath

    def test_life(self) -> None:
        adoption = FakeAdoption()
        datapath = self.admitting(adoption)
        self.assertEqual(adoption.device, TAP)
        datapath.perform(Admit(KEY, ORDER))
        self.reactor.advance(0)
        self.assertEqual(adoption.admitted, {KEY: ORDER})
        datapath.perform(Retract(KEY))
        self.reactor.advance(0)
        self.assertEqual(adoption.admitted, {})
        datapath.stop()
        self.assertEqual((adoption.device, self.raw.running), (None, False))

    def test_no_room(self) -> None:
        datapath = self.admitting(FakeAdoption(room=1))
        for number in (1, 2):
            key = KEY[:-1] + bytes((number,))
            datapath.perform(Admit(key, evolve(ORDER, id=number)))
        self.reactor.advance(0)
        self.assertEqual(self.core.counters, {"ebpf.table-full": 1})

    def test_cannot(self) -> None:
        """
        Then nothing is left behind.
        """
        self.assertRaises(DatapathError, self.admitting, FakeAdoption(problem="no"))
        self.assertFalse(self.raw.running)

    def test_replaying_datapath_is_not_asked(self) -> None:
        self.perform(Admit(KEY, ORDER))
        self.perform(Retract(KEY))
        self.assertEqual(self.core.counters, {})


class RawTests(DatapathTestCase):
    def test_all_comes_to_raw(self) -> None:
        route = self.route()
        segment = compose(KEY, 1, 2, ACK, 0)
        movements: list[Movement] = [
            Install(route),
            PassPacket(b"", True),
            Transmit(segment),
            Deliver(segment),
            Remove(route.key),
        ]
        for each in movements:
            self.perform(each)
        self.assertEqual(self.raw.done, movements)
        self.assertEqual(self.programs.told, ["install", "remove"])

    def test_counters(self) -> None:
        self.datapath.refresh()
        self.assertEqual(self.core.counters["ebpf.sent"], COUNTERS.index("sent"))
        self.assertEqual(set(self.core.counters), {f"ebpf.{name}" for name in COUNTERS})


class ChangesTests(DatapathTestCase):
    """
    Changes are made together, and nothing overtakes them.
    """

    def setUp(self) -> None:
        super().setUp()
        self.programs.room = 1000

    def sent(self) -> list[Movement]:
        return [each for each in self.raw.done if isinstance(each, Deliver | Transmit)]

    def test_one_call_for_all(self) -> None:
        routes = [self.route(number) for number in range(10)]
        for route in routes:
            self.datapath.perform(Install(route))
        self.assertEqual(self.programs.told, [])
        self.reactor.advance(0)
        self.assertEqual(self.programs.told, ["install"])
        for route in routes:
            self.datapath.perform(Remove(route.key))
        self.reactor.advance(0)
        self.assertEqual(self.programs.told, ["install", "remove"])
        self.assertEqual(self.programs.accounts, {})

    def test_the_last_word_counts(self) -> None:
        first, second = self.route(1), self.route(2)
        self.datapath.perform(Install(first))
        self.datapath.perform(Remove(second.key))
        self.datapath.perform(Install(second))
        self.datapath.perform(Remove(first.key))
        self.reactor.advance(0)
        self.assertEqual(list(self.programs.accounts), [second.key])

    def test_packets_wait(self) -> None:
        """
        The local TCP would reset a request that the kernel does not know of yet.
        """
        adoption = FakeAdoption()
        datapath = self.make(adoption)
        self.start(datapath)
        packet = Deliver(compose(KEY, 1, 2, ACK, 0))
        datapath.perform(Admit(KEY, ORDER))
        datapath.perform(packet)
        self.assertEqual((self.sent(), adoption.admitted), ([], {}))
        self.reactor.advance(0)
        self.assertEqual((self.sent(), adoption.admitted), ([packet], {KEY: ORDER}))

    def test_packets_for_which_nothing_waits(self) -> None:
        packet = Transmit(compose(KEY, 1, 2, ACK, 0))
        self.datapath.perform(packet)
        self.assertEqual(self.sent(), [packet])

    def test_packet_in_the_device_s_buffer(self) -> None:
        """
        Cannot wait; so the changes do not wait either.
        """
        packet = Transmit(compose(KEY, 1, 2, ACK, 0))
        packet.segment.frame = 0
        self.datapath.perform(Install(self.route()))
        self.datapath.perform(packet)
        self.assertEqual((self.programs.told, self.sent()), (["install"], [packet]))
        self.reactor.advance(0)
        self.assertEqual(self.programs.told, ["install"])

    def test_not_too_many(self) -> None:
        for number in range(500):
            self.datapath.perform(Install(self.route(number)))
        self.assertGreater(len(self.programs.accounts), 400)

    def test_reading_an_account(self) -> None:
        """
        Of a route that is still to be installed: the kernel has none, and the changes and
        what waits for them need not be made before others that may yet come.
        """
        route = self.route()
        self.datapath.perform(Install(route))
        route.refresh()
        self.assertEqual(self.programs.told, [])

    def test_given_up_in_the_same_turn(self) -> None:
        """
        A handoff and, right behind it, the word that it is off: nothing is admitted.
        """
        adoption = FakeAdoption()
        datapath = self.make(adoption)
        self.start(datapath)
        route = self.route()
        datapath.perform(Install(route))
        datapath.perform(Admit(KEY, ORDER))
        datapath.perform(Deliver(compose(KEY, 1, 2, ACK, 0)))
        route.refresh()
        datapath.perform(Retract(KEY))
        self.assertEqual(self.sent(), [])
        self.reactor.advance(0)
        self.assertEqual(adoption.admitted, {})

    def test_changed_before_it_was_installed(self) -> None:
        route = self.route()
        self.datapath.perform(Install(route))
        route.punt = EVERYTHING
        self.datapath.perform(Install(route))
        self.reactor.advance(0)
        self.assertEqual(self.programs.told, ["install"])
        self.assertEqual(self.programs.punts[route.key], EVERYTHING)

    def test_stop(self) -> None:
        self.datapath.perform(Install(self.route()))
        self.datapath.stop()
        self.assertEqual(self.programs.told, ["install"])
        self.reactor.advance(0)


class ReportTests(DatapathTestCase):
    def test_all_at_once(self) -> None:
        (reader,) = self.reactor.readers
        events = [Reported(KEY, Report.TAKEN), Reported(KEY, Report.CLOSED, 1, 2, 3)]
        self.programs.ring.events = list(events)
        reader.doRead()
        self.assertEqual(self.core.reports, [events])

    def test_defect(self) -> None:
        """
        Is told, and the next report is read all the same.
        """
        (reader,) = self.reactor.readers
        self.core.problem = ValueError("a defect")
        self.programs.ring.events = [Reported(KEY, Report.TAKEN)]
        reader.doRead()
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(self.core.counters, {"failed.report": 1})
        self.core.problem = None
        self.programs.ring.events = [Reported(KEY, Report.FIN)]
        reader.doRead()
        self.assertEqual(self.core.reports, [[Reported(KEY, Report.FIN)]])

    def test_stop(self) -> None:
        self.datapath.stop()
        self.assertEqual(self.reactor.readers, [])
        self.assertTrue(self.programs.ring.closed)


class RenewalTests(DatapathTestCase):
    def test_all_is_told(self) -> None:
        can = Capabilities(mtu=1500, sack=True, timestamps=True, window_scaling=True)
        promise = Promise(can, 7, 12.0)
        self.datapath.renew(promise, {"b": 3.0, "c": 4.0})
        self.assertEqual(self.programs.promised, promise)
        self.assertEqual(self.programs.leases, {"b": 3.0, "c": 4.0})
        self.datapath.renew(None, {})
        self.assertIsNone(self.programs.promised)
