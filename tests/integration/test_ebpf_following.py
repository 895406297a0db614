# SPDX-License-Identifier: MIT
"""
The end of connections, as the tc programs follow it: what they report is what L{Teardown} says of
the same packets.
"""

from __future__ import annotations

import time
from itertools import product
from random import Random
from typing import Any

from attrs import define, evolve, field

from btcp.datapath.interface import AWAKE
from btcp.handoff.route import BREAKING, Report, Reported, Route
from btcp.handoff.splice import Rewriter, Splice
from btcp.handoff.teardown import Teardown
from btcp.wire.build import compose
from btcp.wire.segment import ACK, FIN, PSH, RST, SYN, Segment
from btcp.wire.seqnum import add, latest
from tests.amounts import amount
from tests.integration.loaded import PASS, REDIRECT, frame, parsed
from tests.integration.program_case import (
    BOTH,
    NUMBERS,
    STARTED,
    UNUSUAL,
    V4,
    Flow,
    ProgramsTestCase,
    stamps,
)

FRONT = "b"
"""Whose lease it is."""


@define
class Ends:
    """
    A client and the local TCP, as far as their numbers go.

    @ivar client: its next sequence number.
    @ivar server: that of the local TCP.
    """

    flow: Flow
    client: int = 5000
    server: int = 9000
    sent: dict[bool, list[Segment]] = field(factory=lambda: {True: [], False: []})

    def say(self, from_client: bool, payload: bytes = b"", fin: bool = False) -> Segment:
        """
        @return: the next segment of one side; it acknowledges all that the other said.
        """
        key = self.flow.forwarded if from_client else self.flow.answer
        seq, ack = (self.client, self.server)[:: 1 if from_client else -1]
        made = compose(key, seq, ack, ACK | FIN * fin, 99, stamps(), payload)
        if from_client:
            self.client = made.next
        else:
            self.server = made.next
        self.sent[from_client].append(made)
        return made


class FollowingTestCase(ProgramsTestCase):
    """
    @ivar reports: those of the kernel's.
    @ivar right: those that there should be.
    """

    def setUp(self) -> None:
        super().setUp()
        self.reports: list[Reported] = []
        self._ring = self.loaded.programs.report(self.reports.append)
        self.addCleanup(self._ring.close)
        self._ring.consume()
        self.reports.clear()
        self.right: list[Reported] = []

    def begin(self, flow: Flow, client: int = 5000, server: int = 9000, **how: Any) -> Ends:
        """
        Both directions of a flow are followed.

        @param client: its next sequence number.
        @param server: that of the local TCP.
        @param how: see L{Route}; of the response.
        """
        self.reports.clear()
        self.right.clear()
        self.teardown = Teardown()
        rule = Splice(old=flow.answer, new=flow.response, **NUMBERS)
        common: dict[str, Any] = {"punt": BREAKING, "now": STARTED, "follows": True}
        self.to_client = Route(
            flow.answer, Rewriter(rule), local=False, ack=client, end=server, **common, **how
        )
        self.to_server = Route(flow.forwarded, None, local=True, ack=server, end=client, **common)
        self.loaded.install(self.to_client, self.to_server)
        return Ends(flow, client, server)

    def through(self, segment: Segment) -> None:
        """
        It passes, and the reports are the right ones.
        """
        octets = frame(segment)
        from_client = segment.key == self.to_server.key
        route, run = (
            (self.to_server, self.loaded.ingress)
            if from_client
            else (self.to_client, self.loaded.egress)
        )
        outcome = run(octets)
        counter = "admitted" if from_client else "sent"
        self.assertEqual((outcome.verdict, outcome.counted), (PASS, {counter: 1}))
        before = self.teardown.begun, self.teardown.over
        (self.teardown.from_client if from_client else self.teardown.from_server)(segment)
        passed = parsed(octets)
        route.take(passed, STARTED)
        self.assertEqual(outcome.frame.hex(), bytes(passed.buffer).hex())
        self.expect(*before)
        self.assert_reports()

    def expect(self, begun: bool, over: bool) -> None:
        """
        @param begun: before the last packet.
        """
        if self.teardown.begun and not begun:
            self.right.append(self.report(Report.FIN))
        if self.teardown.over and not over:
            self.right.append(self.report(Report.CLOSED))

    def report(self, what: Report) -> Reported:
        """
        @return: what there is to say now.
        """
        return Reported(
            self.to_client.key,
            what,
            self.teardown.client_fin or 0,
            self.teardown.server_fin or 0,
            self.to_client.octets,
        )

    def take_reports(self) -> None:
        """
        All that are there.
        """
        self._ring.consume()

    def assert_reports(self) -> None:
        self.take_reports()
        self.assertEqual(self.reports, self.right)

    def assert_up(self, segment: Segment) -> None:
        """
        It is for the core, and changes nothing.
        """
        octets = frame(segment)
        from_client = segment.key == self.to_server.key
        outcome = (self.loaded.ingress if from_client else self.loaded.egress)(octets)
        self.assert_untouched(outcome, octets, REDIRECT, "punted")
        self.assert_reports()

    def whats(self) -> list[Report]:
        """
        What was reported so far.
        """
        return [each.what for each in self.reports]


CLIENT, SERVER = True, False


class OrderTests(FollowingTestCase):
    def test_who_is_first(self) -> None:
        for flow, first in product(BOTH, (CLIENT, SERVER)):
            ends = self.begin(flow)
            self.through(ends.say(CLIENT, b"GET"))
            self.through(ends.say(SERVER, b"200"))
            self.through(ends.say(first, fin=True))
            self.through(ends.say(not first))
            self.through(ends.say(not first, fin=True))
            self.assertEqual(self.whats(), [Report.FIN])
            self.through(ends.say(first))
            self.assertEqual(self.whats(), [Report.FIN, Report.CLOSED])

    def test_fin_with_data_and_acknowledgment(self) -> None:
        """
        Three packets end a connection.
        """
        for flow, first in product(BOTH, (CLIENT, SERVER)):
            ends = self.begin(flow)
            self.through(ends.say(first, b"bye", fin=True))
            self.through(ends.say(not first, b"good bye", fin=True))
            self.through(ends.say(first))
            self.assertEqual(self.whats(), [Report.FIN, Report.CLOSED])

    def test_simultaneous(self) -> None:
        for flow, first in product(BOTH, (CLIENT, SERVER)):
            ends = self.begin(flow)
            other = evolve(ends)
            self.through(ends.say(first, b"x", fin=True))
            self.through(other.say(not first, b"xyz", fin=True))
            both = evolve(ends, client=max(ends.client, other.client))
            both.server = max(ends.server, other.server)
            self.through(both.say(first))
            self.assertEqual(self.whats(), [Report.FIN])
            self.through(both.say(not first))
            self.assertEqual(self.whats(), [Report.FIN, Report.CLOSED])

    def test_half_closed(self) -> None:
        """
        The response goes on after the client's FIN.
        """
        for flow in BOTH:
            ends = self.begin(flow)
            self.through(ends.say(CLIENT, fin=True))
            for _ in range(20):
                self.through(ends.say(SERVER, b"x" * 1000))
                self.through(ends.say(CLIENT))
            self.assertEqual(self.whats(), [Report.FIN])
            self.through(ends.say(SERVER, b"x", fin=True))
            self.through(ends.say(CLIENT))
            self.assertEqual(self.reports[-1].octets, 20_001)

    def test_again(self) -> None:
        """
        Whatever is sent again is reported no second time.
        """
        for flow, first in product(BOTH, (CLIENT, SERVER)):
            ends = self.begin(flow)
            last = [ends.say(first, b"x", fin=True), ends.say(not first, fin=True), ends.say(first)]
            for segment in last[:2] * 3 + last * 3:
                self.through(segment)
            self.assertEqual(self.whats(), [Report.FIN, Report.CLOSED])

    def test_late_data(self) -> None:
        """
        What the FIN overtook.
        """
        for flow in BOTH:
            ends = self.begin(flow)
            late = [ends.say(CLIENT, b"a"), ends.say(SERVER, b"b")]
            fins = [ends.say(CLIENT, fin=True), ends.say(SERVER, fin=True)]
            for segment in (*fins, *late, ends.say(CLIENT)):
                self.through(segment)
            self.assertEqual(self.whats(), [Report.FIN, Report.CLOSED])

    def test_numbers_that_wrap(self) -> None:
        for flow, first, before in product(BOTH, (CLIENT, SERVER), range(4)):
            number = -before % 2**32
            ends = self.begin(flow, client=number, server=number)
            self.through(ends.say(first, b"x", fin=True))
            self.through(ends.say(not first, b"y", fin=True))
            self.through(ends.say(first))
            self.assertEqual(self.whats(), [Report.FIN, Report.CLOSED])

    def test_acknowledgment_of_more_than_there_is(self) -> None:
        """
        Nothing follows a FIN: it is not the client's.  The local TCP is not to be doubted.
        """
        for flow in BOTH:
            ends = self.begin(flow)
            for segment in (ends.say(SERVER, fin=True), ends.say(CLIENT, fin=True)):
                self.through(segment)
            ends = self.begin(flow)
            self.through(ends.say(SERVER, fin=True))
            self.through(compose(flow.forwarded, 5000, add(ends.server, 1), ACK | FIN, 99))
            self.through(compose(flow.answer, ends.server, 5001, ACK, 99))
            self.assertEqual(self.whats(), [Report.FIN])
            self.through(compose(flow.forwarded, 5001, ends.server, ACK, 99))
            self.assertEqual(self.whats(), [Report.FIN, Report.CLOSED])

    def test_without_acknowledgment_flag(self) -> None:
        """
        The field says nothing.
        """
        for flow in BOTH:
            ends = self.begin(flow)
            self.through(ends.say(SERVER, fin=True))
            self.through(ends.say(CLIENT, fin=True))
            ends = self.begin(flow)
            server = ends.say(SERVER, fin=True)
            self.through(server)
            self.through(compose(flow.forwarded, 5000, server.next, FIN, 99))
            self.through(compose(flow.answer, server.next, 5001, ACK, 99))
            self.assertEqual(self.whats(), [Report.FIN])

    def test_breaking(self) -> None:
        """
        Who may reset, the core decides.
        """
        for flow, flags in product(BOTH, (RST, RST | ACK, SYN, SYN | ACK, RST | FIN | ACK)):
            self.begin(flow)
            for key in (flow.forwarded, flow.answer):
                self.assert_up(compose(key, 5000, 9000, flags, 99))

    def test_options_that_the_kernel_leaves(self) -> None:
        """
        Such a FIN goes to the core, and nobody else heard of it.
        """
        for flow, options in product(BOTH, UNUSUAL):
            self.begin(flow)
            self.assert_up(compose(flow.answer, 9000, 5000, ACK | FIN, 99, options))
            account = self.loaded.account(self.to_client)
            self.assertEqual((account.fin, account.fin_acked), (None, False))

    def test_not_followed(self) -> None:
        for flow in BOTH:
            routes = flow.send(), flow.receive()
            for route in routes:
                route.punt = BREAKING
            self.loaded.install(*routes)
            self.loaded.ingress(frame(compose(flow.forwarded, 5, 6, ACK | FIN, 99)))
            self.loaded.egress(frame(compose(flow.answer, 6, 6, ACK | FIN, 99)))
            self.assert_reports()

    def test_one_direction_only(self) -> None:
        """
        The other one's route is not there yet, or any more.
        """
        for flow in BOTH:
            ends = self.begin(flow)
            self.loaded.programs.remove([flow.forwarded])
            octets = frame(ends.say(SERVER, fin=True))
            self.assertEqual(self.loaded.egress(octets).counted, {"sent": 1})
            self.assert_reports()

    def test_account(self) -> None:
        """
        Of both: what was reported can be read there as well.
        """
        for flow in BOTH:
            ends = self.begin(flow)
            for side, fin in ((CLIENT, True), (SERVER, True), (CLIENT, False)):
                self.through(ends.say(side, b"", fin=fin))
            client, server = map(self.loaded.account, (self.to_server, self.to_client))
            self.assertEqual((client.fin, server.fin), (5001, 9001))
            self.assertTrue(client.fin_acked and server.fin_acked)

    def test_installed_anew(self) -> None:
        """
        With what passed before, the end is found.  That it begins may be said again.
        """
        for flow, first in product(BOTH, (CLIENT, SERVER)):
            ends = self.begin(flow)
            self.through(ends.say(first, fin=True))
            for route in (self.to_client, self.to_server):
                account = self.loaded.account(route)
                route.fin, route.fin_acked = account.fin, account.fin_acked
            self.loaded.install(self.to_client, self.to_server)
            for segment in (ends.say(not first), ends.say(not first, fin=True)):
                self._pass(segment)
                self.assertNotIn(Report.CLOSED, self.whats())
            self._pass(ends.say(first))
            self.assertEqual(self.whats().count(Report.CLOSED), 1)

    def _pass(self, segment: Segment) -> None:
        from_client = segment.key == self.to_server.key
        (self.loaded.ingress if from_client else self.loaded.egress)(frame(segment))
        self.take_reports()


class PlausibleTests(FollowingTestCase):
    """
    A FIN from nowhere ends nothing; see C{Carrying._plausible}.
    """

    def test_far_away(self) -> None:
        for flow, far in product(BOTH, (-1, -1000, -(2**31), 2**31 - 1, 1 << 23)):
            ends = self.begin(flow)
            forged = compose(flow.forwarded, add(ends.client, far - 1), 9000, ACK | FIN, 99)
            outcome = self.loaded.ingress(frame(forged))
            self.assertEqual(outcome.counted, {"admitted": 1})
            self.assert_reports()
            for side, fin in ((SERVER, True), (CLIENT, False), (SERVER, False)):
                self.through(ends.say(side, fin=fin))
            self.assertEqual(self.whats(), [Report.FIN])
            for side, fin in ((CLIENT, True), (SERVER, False)):
                self.through(ends.say(side, fin=fin))
            self.assertEqual(self.whats(), [Report.FIN, Report.CLOSED])

    def test_ahead_of_what_came(self) -> None:
        """
        What is between is on its way still.
        """
        for flow in BOTH:
            ends = self.begin(flow)
            ends.say(CLIENT, b"x" * 60_000)
            self.through(ends.say(CLIENT, fin=True))
            self.assertEqual(self.whats(), [Report.FIN])


class AdmissionTests(FollowingTestCase):
    def test_taken(self) -> None:
        """
        Nothing of the local TCP passes until it has the request; then that is said once.
        """
        for flow in BOTH:
            ends = self.begin(flow, awaits=5000)
            for ack in (4999, 5001, 4000, 5000 + 2**31):
                self.assert_up(compose(flow.answer, 9000, ack, ACK, 99, stamps()))
            self.assert_up(compose(flow.answer, 9000, 5000, PSH, 99, stamps(), b"x"))
            self.assert_up(compose(flow.answer, 9000, 5000, RST | ACK, 0))
            self.right.append(Reported(flow.answer, Report.TAKEN))
            self.through(ends.say(SERVER))
            self.through(ends.say(SERVER, b"200"))
            self.through(ends.say(CLIENT, b"more"))
            self.through(ends.say(SERVER))

    def test_taken_with_the_response(self) -> None:
        for flow, fin in product(BOTH, (False, True)):
            ends = self.begin(flow, awaits=5000)
            self.right.append(Reported(flow.answer, Report.TAKEN))
            self.through(ends.say(SERVER, b"200", fin=fin))

    def test_number_that_wraps(self) -> None:
        ends = self.begin(V4, client=0, awaits=0)
        self.assert_up(compose(V4.answer, 9000, 2**32 - 1, ACK, 99, stamps()))
        self.right.append(Reported(V4.answer, Report.TAKEN))
        self.through(ends.say(SERVER))

    def test_client_is_not_waited_for(self) -> None:
        for flow in BOTH:
            ends = self.begin(flow, awaits=5000)
            self.through(ends.say(CLIENT, b"x"))

    def test_odd_options(self) -> None:
        """
        The core gets the packet, and the report.
        """
        for flow, options in product(BOTH, UNUSUAL):
            self.begin(flow, awaits=5000)
            self.right.append(Reported(flow.answer, Report.TAKEN))
            self.assert_up(compose(flow.answer, 9000, 5000, ACK, 99, options))


class LeaseTests(FollowingTestCase):
    def renew(self, left: float, awake: float = 60) -> None:
        """
        @param left: seconds.
        @param awake: seconds in which the daemon certainly does something.
        """
        self.loaded.programs.renew(FRONT, time.monotonic() + left)
        self.loaded.programs.renew(AWAKE, time.monotonic() + awake)

    def test_response_begins(self) -> None:
        """
        Only within the lease; the first FIN is a beginning, too, an acknowledgment is none.
        """
        for flow, payload, fin in product(BOTH, (b"", b"200"), (False, True)):
            self.renew(60)
            ends = self.begin(flow, lease=FRONT)
            self.through(ends.say(SERVER, payload, fin))
            self.renew(-0.001)
            if not payload and not fin:
                self.through(ends.say(SERVER))
                self.assert_up(ends.say(SERVER, b"x"))
            elif payload:
                self.through(compose(flow.answer, 9000, 5000, ACK | PSH, 99, b"", b"200"))

    def test_too_late(self) -> None:
        for flow, (payload, fin) in product(BOTH, ((b"", True), (b"x", False), (b"x", True))):
            self.renew(-0.001)
            ends = self.begin(flow, lease=FRONT)
            late = ends.say(SERVER, payload, fin)
            self.assert_up(late)
            self.assertEqual(self.loaded.account(self.to_client).octets, 0)
            self.through(compose(flow.answer, 9000, 5000, ACK, 99))
            self.renew(60)
            self.through(late)

    def test_daemon_sleeps(self) -> None:
        """
        It has not heard that the request was taken, and may not do so in time.
        """
        self.renew(60, awake=-0.001)
        ends = self.begin(V4, lease=FRONT)
        late = ends.say(SERVER, b"x")
        self.assert_up(late)
        self.renew(60)
        self.through(late)

    def test_client_needs_none(self) -> None:
        self.renew(-0.001)
        ends = self.begin(V4, lease=FRONT)
        self.through(ends.say(CLIENT, b"x"))
        self.through(ends.say(CLIENT, fin=True))

    def test_never_renewed(self) -> None:
        ends = self.begin(V4, lease="a node that was never heard of")
        self.assert_up(ends.say(SERVER, b"x"))

    def test_of_another_front_end(self) -> None:
        self.renew(-0.001)
        self.loaded.programs.renew("c", time.monotonic() + 60)
        ends = self.begin(V4, lease=FRONT)
        self.assert_up(ends.say(SERVER, b"x"))

    def test_taken_too_late(self) -> None:
        """
        The core hears that the local TCP has the request, and gets what it may not say.
        """
        self.renew(-0.001)
        ends = self.begin(V4, lease=FRONT, awaits=5000)
        self.right.append(Reported(V4.answer, Report.TAKEN))
        self.assert_up(ends.say(SERVER, b"200"))
        self.through(compose(V4.answer, 9000, 5000, ACK, 99))


class RandomTests(FollowingTestCase):
    """
    Two sides that say what they like, lose it, and say it again.
    """

    CASES = amount(300, 75)

    def test_any(self) -> None:
        closed = 0
        for seed in range(self.CASES):
            random = Random(seed)
            first = 2**32 - random.randrange(3000)
            talk = Talk(self.begin(random.choice(BOTH), first, first), random)
            for _ in range(40):
                self.through(talk.next())
            closed += Report.CLOSED in self.whats()
        self.assertGreater(closed, self.CASES // 3)
        self.assertLess(closed, self.CASES)


@define
class Talk:
    """
    What two honest TCPs may say to each other, in any order that the programs may see.

    @ivar heard: the latest number of the other that each may acknowledge.
    """

    ends: Ends
    random: Random
    over: dict[bool, bool] = field(factory=lambda: {CLIENT: False, SERVER: False})
    heard: dict[bool, int] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.heard = {CLIENT: self.ends.server, SERVER: self.ends.client}

    def next(self) -> Segment:
        """
        @return: the next segment that passes.
        """
        side, choice = self.random.choice((CLIENT, SERVER)), self.random.random()
        sent = self.ends.sent[side]
        if choice < 0.2 and sent:
            return self.random.choice(sent)
        if choice < 0.6 or self.over[side]:
            return self._say(side, b"", False)
        fin = self.over[side] = choice > 0.85
        return self._say(side, bytes(self.random.randrange(1500)), fin)

    def _say(self, side: bool, payload: bytes, fin: bool) -> Segment:
        """
        It acknowledges what was said at any time since its last acknowledgment.
        """
        ends = self.ends
        known = ends.server if side else ends.client
        if self.random.random() < 0.6:
            self.heard[side] = latest(self.heard[side], known)
        said = evolve(ends)
        if side:
            said.server = self.heard[side]
        else:
            said.client = self.heard[side]
        made = said.say(side, payload, fin)
        if side:
            ends.client = said.client
        else:
            ends.server = said.server
        return made
