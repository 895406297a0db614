# SPDX-License-Identifier: MIT
"""
The back-end's half, of flows whose packets a datapath moves that reports what it sees.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from btcp.handoff.carry import SECOND_LOOK
from btcp.handoff.context import Periods
from btcp.handoff.messages import Adopted, Reason, Refused, Terminate
from btcp.handoff.route import BREAKING, EVERYTHING, Report, Reported, Route
from btcp.handoff.states import Adopt
from btcp.wire.segment import ACK, FIN, RST, Segment
from tests.simulation.cluster import CAPABILITIES, ORIGIN
from tests.simulation.script import ADDRESSES, Tcp
from tests.unit import back_case as case
from tests.unit.back_case import (
    CLIENT,
    END,
    INBOUND,
    IRS,
    ISN,
    ISS,
    ORDER,
    OUTBOUND,
    REQUEST,
    RESPONSE,
    SERVER,
    SYN_ACK,
    SYN_OF_CLIENT,
)

ADMITTED = SERVER.but(seq=(ISS + 1) % 2**32)
"""What the local TCP sends that has the front-end's own numbers: the template."""

ADOPTED = Adopted(id=5, isn=ISS, ts_delta=0, address=ADDRESSES["a"][0], port=ORIGIN)


class _Kept:
    """
    An account that somebody else keeps; see L{btcp.handoff.route.Keeper}.
    """

    def __init__(self, route: Route, account: Mapping[str, Any]) -> None:
        self._route = route
        self._before = route.kept_elsewhere
        self._account = account

    def read(self) -> None:
        if self._before is not None:
            self._before.read()
        for name, value in self._account.items():
            setattr(self._route, name, value)

    def halt(self) -> None:
        self.read()
        self._before, self._account = None, {}


class _Passing(_Kept):
    """
    And goes on changing, until it is told to stop.
    """

    def __init__(self, route: Route, end: int) -> None:
        super().__init__(route, {})
        self._end = end % 2**32

    def halt(self) -> None:
        super().halt()
        self._route.end = self._end


class _Late(_Kept):
    """
    What it has of a packet that was on its way when it was halted, is there later only.
    """

    def halt(self) -> None:
        late, self._account = self._account, {}
        super().halt()
        self._account = late

    def read(self) -> None:
        if self._route.punt == EVERYTHING:
            super().read()


class ReportedCase(case.BackCase):
    def setUp(self) -> None:
        self.begin(admits=True, reports=True)
        self.order()

    def reports(self, *reports: Reported) -> list[Tcp]:
        """
        The datapath has seen something.
        """
        return self.script.do(self.script.core.reported(reports, self.script.now))

    def take_request(self) -> None:
        """
        To SPLICED.
        """
        self.reports(Reported(OUTBOUND, Report.TAKEN))
        self.assertEqual(self.script.said, [("b", ADOPTED)])

    def comes_up(self, packet: Tcp) -> list[Tcp]:
        """
        The datapath leaves a packet to us.
        """
        octets = bytearray(packet.pack())
        segment, core = Segment(octets, 0, len(octets)), self.script.core
        return self.script.do(core.receive(segment, self.script.now))

    def route(self, key: bytes) -> Route:
        """
        That is installed for these packets.
        """
        return self.script.datapath.routes[key]

    def passed(self, key: bytes, **account: Any) -> None:
        """
        Packets passed in the datapath, and only there somebody knows of it.

        @param account: as it is by now.
        """
        self.route(key).kept_elsewhere = _Kept(self.route(key), account)

    def responded(self, count: int = 100) -> None:
        """
        The response passed.
        """
        now = self.script.now
        end = (ISS + 1 + count) % 2**32
        self.passed(OUTBOUND, packets=2, octets=count, end=end, used=now)
        self.passed(INBOUND, packets=1, ack=end, used=now)

    def closed(self, client_fin: int, server_fin: int) -> Reported:
        """
        @return: a report of the end.
        """
        return Reported(OUTBOUND, Report.CLOSED, client_fin % 2**32, server_fin % 2**32, 100)


class AdmittingTests(ReportedCase):
    def test_routes_at_once(self) -> None:
        """
        Before the local TCP has the request: it may answer before we hear of it.
        """
        to_client, to_server = self.route(OUTBOUND), self.route(INBOUND)
        self.assertEqual((to_client.awaits, to_client.lease), (END, "b"))
        self.assertEqual((to_server.awaits, to_server.lease), (None, None))
        for route in (to_client, to_server):
            self.assertEqual((route.follows, route.punt), (True, BREAKING))
        self.assertEqual(self.script.said, [])

    def test_taken(self) -> None:
        self.take_request()
        self.assertIs(self.state(), Adopt.SPLICED)
        self.assertIs(self.route(OUTBOUND).awaits, None)
        self.assertEqual((self.script.sent, self.script.delivered), ([], []))

    def test_taken_twice(self) -> None:
        self.take_request()
        self.reports(Reported(OUTBOUND, Report.TAKEN))
        self.assertEqual(self.script.said, [])

    def test_packet_comes_before_the_report(self) -> None:
        """
        One that the datapath left to us, for its options or for want of a lease.
        """
        sent = self.comes_up(ADMITTED.but(payload=b"200"))
        self.assertEqual(sent, [RESPONSE.but(payload=b"200")])
        self.assertEqual(self.script.said, [("b", ADOPTED)])
        self.reports(Reported(OUTBOUND, Report.TAKEN))
        self.assertEqual(self.script.said, [])
        self.assertIs(self.state(), Adopt.SPLICED)

    def test_report_is_lost_and_time_passes(self) -> None:
        """
        The request is not given to the local TCP once more.
        """
        self.passed(OUTBOUND, packets=1)
        self.script.wait(0.25)
        self.assertEqual(self.script.said, [("b", ADOPTED)])
        self.assertEqual((self.script.sent, self.script.delivered), ([], []))
        self.assertEqual(self.script.counted("adopt.unreported"), 1)
        self.assertIs(self.state(), Adopt.SPLICED)

    def test_report_is_lost_and_the_end_reported(self) -> None:
        self.responded()
        self.reports(self.closed(END + 1, ISS + 102))
        over = Terminate(
            front="b",
            id=5,
            reason=Reason.CLOSED,
            client_next=(END + 1) % 2**32,
            server_next=(ISS + 102) % 2**32,
        )
        self.assertEqual(self.script.said, [("b", ADOPTED), ("b", over)])
        self.assertIs(self.state(), Adopt.CLOSED)

    def test_report_is_lost_and_a_fin_reported(self) -> None:
        self.responded()
        self.reports(Reported(OUTBOUND, Report.FIN, END + 1, 0, 100))
        self.assertEqual(self.script.said, [("b", ADOPTED)])
        self.assertIs(self.state(), Adopt.CLOSING)

    def test_reset_comes_before_the_report(self) -> None:
        """
        A part of the response was sent: nobody else may be asked for it.
        """
        self.responded()
        reset = ADMITTED.but(seq=ISS + 101, ack=0, flags=RST)
        sent = self.comes_up(reset)
        self.assertEqual(sent, [RESPONSE.but(seq=(ISS + 101) % 2**32, ack=0, flags=RST)])
        self.assertEqual([type(message) for _, message in self.script.said], [Adopted, Terminate])
        self.assertTrue(self.script.empty)

    def test_reset_instead_of_the_request(self) -> None:
        self.comes_up(ADMITTED.but(seq=0, ack=END, flags=RST | ACK))
        self.refused(Reason.RESET_BY_ORIGIN)

    def test_link_down_before_the_report(self) -> None:
        """
        A response that was begun goes on; any other connection is given up.
        """
        self.responded()
        self.script.do(self.script.core.peer_down("b", self.script.now))
        self.assertEqual(self.script.said, [("b", ADOPTED)])
        self.assertIs(self.state(), Adopt.SPLICED)
        self.assertEqual(self.route(OUTBOUND).punt, BREAKING)

    def test_link_down(self) -> None:
        self.script.do(self.script.core.peer_down("b", self.script.now))
        resets = [Tcp(key=INBOUND, seq=seq % 2**32, flags=RST) for seq in (IRS + 1, END)]
        self.assertEqual(self.script.delivered, resets)
        self.assertEqual(self.script.said, [("b", Refused(id=5, reason=Reason.LINK_LOST))])
        self.assertTrue(self.script.empty)

    def test_front_end_lost(self) -> None:
        for restarted in (False, True):
            self.setUp()
            self.script.do(self.script.core.peer_lost("b", self.script.now, restarted))
            self.assertEqual(self.script.sent, [])
            self.assertTrue(self.script.empty)

    def test_front_end_lost_before_the_report(self) -> None:
        """
        Its client has a part of the response, and is reset.
        """
        self.responded()
        sent = self.script.do(self.script.core.peer_lost("b", self.script.now, True))
        self.assertEqual({each.flags for each in sent}, {RST})
        self.assertIn((ISS + 101) % 2**32, [each.seq for each in sent])
        self.assertTrue(self.script.empty)

    def test_given_up_before_the_report(self) -> None:
        """
        The local TCP is reset where it stands.
        """
        self.responded()
        self.passed(OUTBOUND, ack=END)
        self.give_up()
        self.assertEqual(self.script.delivered, [Tcp(key=INBOUND, seq=END, flags=RST)])
        self.assertTrue(self.script.empty)

    def test_stop_before_the_report(self) -> None:
        self.responded()
        sent = self.script.do(self.script.core.stop(self.script.now))
        self.assertEqual({each.flags for each in sent}, {RST})
        self.assertTrue(self.script.empty)

    def test_stop_while_it_passes(self) -> None:
        """
        The client is reset with the number after the last packet that nobody saw here.
        """
        self.responded()
        self.route(OUTBOUND).kept_elsewhere = _Passing(self.route(OUTBOUND), end=ISS + 301)
        sent = self.script.do(self.script.core.stop(self.script.now))
        self.assertIn((ISS + 301) % 2**32, [each.seq for each in sent])


class BouncedTests(ReportedCase):
    def setUp(self) -> None:
        super().setUp()
        octets = bytearray(CLIENT.but(seq=IRS + 1, payload=REQUEST).pack())
        segment, core = Segment(octets, 0, len(octets)), self.script.core
        self.script.do(core.bounced(segment, self.script.now))

    def test_replayed(self) -> None:
        """
        The routes go until there is something to move.
        """
        self.assertEqual(self.script.delivered, [SYN_OF_CLIENT])
        self.assertEqual(list(self.script.datapath.routes), [OUTBOUND])
        self.assertEqual(self.route(OUTBOUND).punt, EVERYTHING)
        self.assertFalse(self.route(OUTBOUND).follows)

    def test_spliced(self) -> None:
        """
        And are followed again, with the numbers of the local TCP.
        """
        self.assertEqual(self.script.take(SYN_ACK), [])
        self.assertEqual(self.script.take(SERVER), [RESPONSE])
        for key in (INBOUND, OUTBOUND):
            route = self.route(key)
            self.assertEqual((route.follows, route.awaits, route.punt), (True, None, BREAKING))
        self.reports(self.closed(END + 1, ISN + 102))
        self.reported(Reason.CLOSED, END + 1, ISS + 102)

    def test_late_reports(self) -> None:
        """
        Of the routes that are no more.
        """
        for what in Report:
            self.reports(Reported(OUTBOUND, what, END + 1, ISS + 2, 0))
            self.assertEqual(self.script.said, [])
            self.assertIs(self.state(), Adopt.REPLAYING)
        self.assertEqual(self.script.counted("adopt.late-report"), len(Report))


class SplicedTests(ReportedCase):
    def setUp(self) -> None:
        super().setUp()
        self.take_request()

    def test_fin(self) -> None:
        """
        The datapath goes on; what changes is how long the flow may be idle.
        """
        self.responded()
        self.passed(INBOUND, fin=(END + 1) % 2**32)
        self.reports(Reported(OUTBOUND, Report.FIN, END + 1, 0, 100))
        self.assertIs(self.state(), Adopt.CLOSING)
        self.assertEqual(self.route(OUTBOUND).punt, BREAKING)
        self.reports(Reported(OUTBOUND, Report.FIN, END + 1, ISS + 102, 100))
        self.assertEqual(self.script.said, [])
        self.script.wait(Periods().half_closed + 1)
        self.reported(Reason.IDLE, END, ISS + 101)

    def test_order_of_routes(self) -> None:
        """
        The local TCP may send a FIN as soon as there is a way for it; by then there has to be the
        other direction, where the datapath looks for its acknowledgment.
        """
        self.assertEqual(list(self.script.datapath.routes), [INBOUND, OUTBOUND])

    def test_crossing_fins(self) -> None:
        """
        The local TCP's comes up; the client's passes in the datapath, which was told at that
        moment to let nothing pass: nobody reports it, but we look again.
        """
        self.responded()
        fins = (END + 1) % 2**32, (ISS + 102) % 2**32
        self.route(INBOUND).kept_elsewhere = _Late(self.route(INBOUND), {"fin": fins[0]})
        self.comes_up(ADMITTED.but(seq=ISS + 101, ack=END, flags=FIN | ACK))
        self.comes_up(ADMITTED.but(seq=ISS + 102, ack=END + 1))
        self.comes_up(CLIENT.but(seq=END + 1, ack=ISS + 102))
        self.assertIs(self.state(), Adopt.CLOSING)
        self.script.wait(SECOND_LOOK + 0.1)
        self.assertIs(self.state(), Adopt.CLOSED)
        self.reported(Reason.CLOSED, END + 1, ISS + 102)

    def test_closed(self) -> None:
        for early in ([Reported(OUTBOUND, Report.FIN, END + 1, 0, 100)], []):
            self.setUp()
            self.responded()
            self.reports(*early, self.closed(END + 1, ISS + 102))
            self.reported(Reason.CLOSED, END + 1, ISS + 102)
            self.assertIs(self.state(), Adopt.CLOSED)
            self.script.wait(Periods().linger + 1)
            self.assertTrue(self.script.empty)

    def test_after_the_end(self) -> None:
        self.reports(self.closed(END + 1, ISS + 102))
        for what in Report:
            self.reports(Reported(OUTBOUND, what, END + 1, ISS + 102, 100))
            self.assertEqual((self.script.said, self.state()), ([], Adopt.CLOSED))

    def test_reset_before_the_report_of_the_end(self) -> None:
        """
        An ACK of the client's came twice, so the local TCP had forgotten the connection; but
        for us it was open still.
        """
        self.responded()
        ends = (END + 1) % 2**32, (ISS + 102) % 2**32
        self.passed(OUTBOUND, fin=ends[1], end=ends[1], ack=ends[0], fin_acked=True)
        self.passed(INBOUND, fin=ends[0], end=ends[0], ack=ends[1], fin_acked=True)
        sent = self.comes_up(ADMITTED.but(seq=ISS + 102, ack=0, flags=RST))
        self.assertEqual(sent, [])
        self.assertIs(self.state(), Adopt.CLOSED)
        self.reported(Reason.CLOSED, END + 1, ISS + 102)
        self.assertEqual(self.script.counted("adopt.late-reset"), 1)

    def test_unknown(self) -> None:
        """
        Of a flow that is forgotten.
        """
        self.give_up()
        for what in Report:
            self.reports(Reported(OUTBOUND, what))
            self.assertEqual((self.script.said, self.script.sent), ([], []))
        self.assertEqual(self.script.counted("adopt.late-report"), len(Report))
        self.assertTrue(self.script.empty)

    def test_one_turn(self) -> None:
        """
        All reports of a connection at once.
        """
        self.begin(admits=True, reports=True)
        self.order()
        taken = Reported(OUTBOUND, Report.TAKEN)
        fin = Reported(OUTBOUND, Report.FIN, 0, ISS + 102, 100)
        self.reports(taken, fin, self.closed(END + 1, ISS + 102))
        said = [type(message) for _, message in self.script.said]
        self.assertEqual(said, [Adopted, Terminate])

    def test_fin_comes_up(self) -> None:
        """
        With odd options, say: from there on all that follows has to come up.
        """
        for server_first in (False, True):
            self.setUp()
            self.responded()
            if server_first:
                self.passed(OUTBOUND, fin=(ISS + 102) % 2**32, end=(ISS + 102) % 2**32)
                self.reports(Reported(OUTBOUND, Report.FIN, 0, ISS + 102, 100))
            self.comes_up(CLIENT.but(ack=ISS + 101 + server_first, flags=FIN | ACK))
            self.assertIs(self.state(), Adopt.CLOSING)
            for key in (INBOUND, OUTBOUND):
                self.assertEqual(self.route(key).punt, EVERYTHING)
            fin = ADMITTED.but(seq=ISS + 101, ack=END + 1, flags=FIN | ACK)
            if server_first:
                fin = ADMITTED.but(seq=ISS + 102, ack=END + 1)
            self.script.take(fin)
            if not server_first:
                self.assertEqual(self.script.said, [])
                self.script.take(CLIENT.but(seq=END + 1, ack=ISS + 102))
            self.assertIs(self.state(), Adopt.CLOSED)
            # What the server's number is, is told as far as we saw it ourselves.
            ((node, message),) = self.script.said
            self.assertEqual((node, message.reason), ("b", Reason.CLOSED))  # type: ignore[union-attr]

    def test_report_of_what_came_up(self) -> None:
        """
        It was on its way when we took over.
        """
        self.responded()
        self.comes_up(CLIENT.but(ack=ISS + 101, flags=FIN | ACK))
        self.reports(self.closed(END + 1, ISS + 102))
        self.assertIs(self.state(), Adopt.CLOSING)
        self.assertEqual(self.script.counted("adopt.late-report"), 1)

    def test_other_packets_that_come_up(self) -> None:
        """
        Go on as they would, and the datapath goes on with the rest.
        """
        self.responded()
        odd = CLIENT.but(ack=(ISS + 101) % 2**32, payload=b"x")
        self.comes_up(odd)
        self.assertEqual(self.script.delivered, [odd])
        self.comes_up(ADMITTED.but(seq=ISS + 101, payload=b"y"))
        self.assertEqual([each.payload for each in self.script.sent], [b"y"])
        self.assertIs(self.state(), Adopt.SPLICED)
        self.assertEqual(self.route(OUTBOUND).punt, BREAKING)

    def test_reset_of_the_client(self) -> None:
        """
        The account says which number is the right one.
        """
        self.passed(OUTBOUND, ack=(END + 50) % 2**32, octets=100)
        self.comes_up(Tcp(key=INBOUND, seq=END + 50, flags=RST))
        self.assertTrue(self.script.empty)
        self.assertEqual(self.script.counted("adopt.ended.reset-by-client"), 1)


class IdleTests(ReportedCase):
    """
    Reports were lost: the flow's timer reads the account.
    """

    def setUp(self) -> None:
        super().setUp()
        self.take_request()
        self.responded()

    def fins(self, **acked: bool) -> None:
        """
        Both passed.
        """
        client, server = (END + 1) % 2**32, (ISS + 102) % 2**32
        acks = {name: acked.get(name, True) for name in ("client", "server")}
        ack = client if acks["client"] else END % 2**32
        self.passed(INBOUND, fin=client, fin_acked=acks["server"])
        self.passed(OUTBOUND, fin=server, end=server, ack=ack, fin_acked=acks["client"])

    def test_closed(self) -> None:
        self.fins()
        self.script.wait(Periods().established - 1)
        self.assertEqual(self.script.said, [])
        self.script.wait(2)
        self.reported(Reason.CLOSED, END + 1, ISS + 102)
        self.assertIs(self.state(), Adopt.CLOSED)

    def test_half_closed(self) -> None:
        """
        And idle for longer than that may be.
        """
        for acked in ({"client": False}, {"server": False}):
            self.setUp()
            self.fins(**acked)
            self.script.wait(Periods().established + 1)
            self.reported(Reason.IDLE, END + acked.get("client", True), ISS + 102)
            self.assertTrue(self.script.empty)

    def test_alive(self) -> None:
        self.passed(INBOUND, used=self.script.now + 800)
        self.script.wait(Periods().established + 1)
        self.assertEqual((self.script.said, self.state()), ([], Adopt.SPLICED))

    def test_closed_after_the_first_fin(self) -> None:
        """
        Of which we heard.
        """
        self.reports(Reported(OUTBOUND, Report.FIN, END + 1, 0, 100))
        self.fins()
        self.script.wait(Periods().half_closed + 1)
        self.reported(Reason.CLOSED, END + 1, ISS + 102)


class HeldTests(ReportedCase):
    """
    The link to the front-end is down, and comes back.
    """

    def setUp(self) -> None:
        super().setUp()
        self.take_request()

    def link(self, up: bool) -> None:
        """
        It goes down, or comes back.
        """
        core, now = self.script.core, self.script.now
        self.script.do(core.peer_up("b", CAPABILITIES, now) if up else core.peer_down("b", now))

    def test_not_begun(self) -> None:
        """
        All that the local TCP says is for us; then the datapath has it again.
        """
        self.link(False)
        self.assertEqual(self.route(OUTBOUND).punt, EVERYTHING)
        self.assertEqual(self.script.take(ADMITTED.but(payload=b"200")), [])
        self.link(True)
        (sent,) = self.script.take(ADMITTED.but(payload=b"200"))
        self.assertEqual(sent, RESPONSE.but(payload=b"200"))
        self.assertEqual(self.route(OUTBOUND).punt, BREAKING)
        self.assertEqual(self.route(OUTBOUND).lease, "b")

    def test_taken_meanwhile(self) -> None:
        """
        What the local TCP acknowledges is kept from the client, but in the end it is reset
        where it stands.
        """
        self.link(False)
        self.script.take(CLIENT.but(payload=b"x" * 100))
        self.assertEqual(self.script.take(ADMITTED.but(ack=END + 100)), [])
        self.script.do(self.script.core.peer_lost("b", self.script.now))
        self.assertEqual(self.script.delivered, [Tcp(key=INBOUND, seq=END + 100, flags=RST)])

    def test_begun(self) -> None:
        """
        Nobody but the datapath knows.
        """
        self.responded()
        self.link(False)
        self.assertEqual(self.route(OUTBOUND).punt, BREAKING)

    def test_fin_of_the_client_before(self) -> None:
        """
        The datapath saw it; the response, and its end, come thereafter.
        """
        self.passed(INBOUND, fin=(END + 1) % 2**32)
        self.reports(Reported(OUTBOUND, Report.FIN, END + 1, 0, 0))
        self.link(False)
        self.assertEqual(self.script.take(ADMITTED.but(ack=END + 1, payload=b"200")), [])
        self.link(True)
        fin = ADMITTED.but(ack=END + 1, payload=b"200", flags=FIN | ACK)
        self.assertEqual(len(self.script.take(fin)), 1)
        self.assertEqual(self.script.said, [])
        self.script.take(CLIENT.but(seq=END + 1, ack=ISS + 5))
        self.assertIs(self.state(), Adopt.CLOSED)
        self.reported(Reason.CLOSED, END + 1, ISS + 5)


class OwnTests(case.BackCase):
    """
    Of flows whose front-end is this very node, nobody but the core follows the end.
    """

    def test_not_followed(self) -> None:
        self.begin(admits=True, reports=True)
        self.script.hear("a", ORDER)
        (route,) = self.script.datapath.routes.values()
        self.assertEqual((route.follows, route.awaits, route.punt), (False, None, EVERYTHING))
        for what in Report:
            self.script.do(self.script.core.reported([Reported(OUTBOUND, what)], self.script.now))
        self.assertIs(self.state(), Adopt.ADMITTING)
        self.assertEqual(self.script.counted("adopt.late-report"), len(Report))
