# SPDX-License-Identifier: MIT
"""
The front-end's half until the connection is established: LISTEN, SYN-RECEIVED.
"""

from __future__ import annotations

from typing import Any

from attrs import evolve

from btcp.handoff.context import Periods
from btcp.handoff.messages import Capabilities
from btcp.handoff.reassembly import WINDOW
from btcp.handoff.states import Accept
from btcp.wire.options import SynOptions
from btcp.wire.segment import ACK, FIN, PSH, RST, SYN, flow_key
from tests.simulation.cluster import CAPABILITIES, PORT
from tests.simulation.script import ADDRESSES, CLIENTS, Script, Tcp
from tests.unit import front_case as case
from tests.unit.front_case import IN, IRS, OUT, REQUEST, SYN_OF_CLIENT


class ListenTests(case.FrontCase):
    """
    Nothing is known of the client.
    """

    def test_syn(self) -> None:
        """
        Our own ISN, an ACK of the client's, and the window we have for a request.
        """
        self.open()
        self.assertEqual(self.syn_ack.key, OUT)
        self.assertEqual(self.syn_ack.flags, SYN | ACK)
        self.assertEqual(self.syn_ack.ack, IRS + 1)
        self.assertEqual(self.syn_ack.window, WINDOW)
        self.assertEqual(self.syn_ack.options, SynOptions(mss=1460).pack())
        self.assertIs(self.state(), Accept.SYN_RECEIVED)

    def test_isn_depends_on_ends_and_time(self) -> None:
        """
        RFC 6528.
        """
        seen = set()
        for key in (IN, IN[:-4] + b"\0\1" + IN[-2:]):
            for seconds in (0, 1):
                self.begin()
                self.script.now += seconds
                seen.add(self.script.take(SYN_OF_CLIENT.but(key=key))[0].seq)
        self.assertEqual(len(seen), 4)

    def offer(self, offered: SynOptions, **can: Any) -> bytes:
        """
        What is promised to whom offers that.
        """
        self.script = Script(evolve(CAPABILITIES, **can))
        (syn_ack,) = self.script.take(SYN_OF_CLIENT.but(options=offered.pack()))
        return syn_ack.options

    def test_everything_is_offered(self) -> None:
        promised = self.offer(SynOptions(mss=1200, scale=3, sack=True, tsval=5))
        stamp = self.script.core.context.timestamp(OUT)
        self.assertEqual(promised, SynOptions(1460, 7, True, stamp, 5).pack())

    def test_promises_are_what_every_node_can_keep(self) -> None:
        """
        One node cannot, so no client is promised it.
        """
        offered = SynOptions(mss=1200, scale=3, sack=True, tsval=5)
        poor = Capabilities(mtu=1280, sack=False, timestamps=False, window_scaling=False)
        self.script.perform(self.script.core.peer_up("c", poor, self.script.now))
        (syn_ack,) = self.script.take(SYN_OF_CLIENT.but(options=offered.pack()))
        self.assertEqual(syn_ack.options, SynOptions(mss=1240).pack())
        for name in ("sack", "timestamps", "window_scaling"):
            with_all = self.offer(offered)
            self.assertNotEqual(self.offer(offered, **{name: False}), with_all, name)

    def test_mss_of_the_version(self) -> None:
        key = flow_key(CLIENTS[1], 51515, ADDRESSES["a"][1], PORT)
        (syn_ack,) = self.script.take(SYN_OF_CLIENT.but(key=key))
        self.assertEqual(syn_ack.options, SynOptions(mss=1440).pack())

    def test_ack_is_reset(self) -> None:
        """
        RFC 9293, 3.10.7.1: with the number it acknowledges.
        """
        stray = Tcp(key=IN, seq=5, ack=77, flags=ACK, payload=b"data")
        self.assertEqual(self.script.take(stray), [Tcp(key=OUT, seq=77, flags=RST)])

    def test_fin_without_ack_is_reset(self) -> None:
        stray = Tcp(key=IN, seq=5, flags=FIN, payload=b"data")
        expected = Tcp(key=OUT, seq=0, ack=10, flags=RST | ACK)
        self.assertEqual(self.script.take(stray), [expected])

    def test_rst_is_not_answered(self) -> None:
        self.assertEqual(self.script.take(Tcp(key=IN, seq=5, flags=RST)), [])
        self.assertTrue(self.script.empty)

    def test_syn_with_fin_is_none(self) -> None:
        (answer,) = self.script.take(SYN_OF_CLIENT.but(flags=SYN | FIN))
        self.assertEqual(answer.flags, RST | ACK)
        self.assertTrue(self.script.empty)

    def test_wrong_checksum(self) -> None:
        self.assertEqual(self.script.take(SYN_OF_CLIENT.but(intact=False)), [])
        self.assertEqual(self.script.counted("dropped.bad-checksum"), 1)
        self.assertTrue(self.script.empty)

    def test_options_that_cannot_be_read(self) -> None:
        self.assertEqual(self.script.take(SYN_OF_CLIENT.but(options=b"\2\0\0\0")), [])
        self.assertEqual(self.script.counted("dropped.bad-tcp-options"), 1)
        self.assertTrue(self.script.empty)

    def test_full_table(self) -> None:
        """
        A flow that lives is not sent away for another.
        """
        self.begin(max_flows=2)
        for port in range(5):
            key = IN[:-4] + port.to_bytes(2, "big") + IN[-2:]
            self.script.take(SYN_OF_CLIENT.but(key=key))
        self.assertEqual(len(self.script.core.acceptor.flows), 2)
        self.assertEqual(self.script.counted("dropped.flow-table-full"), 3)

    def test_too_many_half_open(self) -> None:
        self.begin(max_half_open=1)
        self.open()
        other = SYN_OF_CLIENT.but(key=IN[:-4] + b"\0\1" + IN[-2:])
        self.assertEqual(self.script.take(other), [])
        self.assertEqual(self.script.counted("dropped.half-open-table-full"), 1)
        self.script.take(self.client)
        self.assertEqual(len(self.script.take(other)), 1)


class SynReceivedTests(case.FrontCase):
    """
    The SYN/ACK is on its way.
    """

    def setUp(self) -> None:
        super().setUp()
        self.open()

    def test_the_same_syn(self) -> None:
        """
        The same SYN/ACK, later too.
        """
        self.script.wait(1)
        self.assertEqual(self.script.take(SYN_OF_CLIENT), [self.syn_ack])
        self.assertEqual(len(self.script.core.acceptor.flows), 1)

    def test_another_syn(self) -> None:
        """
        The client has begun anew: so do we.
        """
        (again,) = self.script.take(SYN_OF_CLIENT.but(seq=IRS + 5))
        self.assertEqual(again.ack, IRS + 6)
        self.assertIs(self.state(), Accept.SYN_RECEIVED)
        self.assertEqual(self.script.core.acceptor.flows.half_open, 1)

    def test_ack(self) -> None:
        self.assertEqual(self.script.take(self.client), [])
        self.assertIs(self.state(), Accept.ESTABLISHED)
        self.assertEqual(self.script.core.acceptor.flows.half_open, 0)

    def test_request_with_the_ack(self) -> None:
        self.script.take(self.client.but(payload=REQUEST))
        self.assertEqual(self.asked(), ["b"])

    def test_wrong_ack_is_reset(self) -> None:
        """
        With the number it acknowledges (RFC 9293, 3.10.7.4); the flow goes on.
        """
        for wrong in (self.iss, self.iss + 2, self.iss + 2**31):
            answer = self.script.take(self.client.but(ack=wrong))
            self.assertEqual(answer, [Tcp(key=OUT, seq=wrong % 2**32, flags=RST)])
            self.assertIs(self.state(), Accept.SYN_RECEIVED)

    def test_wrong_ack_of_a_rst_is_not_answered(self) -> None:
        self.assertEqual(self.script.take(self.client.but(ack=1, flags=RST | ACK)), [])
        self.assertIs(self.state(), Accept.SYN_RECEIVED)

    def test_without_ack_nothing_is_established(self) -> None:
        """
        Who cannot have seen our SYN/ACK does not leave the half-open ones.
        """
        for flags in (0, PSH, FIN):
            blind = self.client.but(flags=flags, ack=0, payload=REQUEST)
            self.assertEqual(self.script.take(blind), [])
            self.assertIs(self.state(), Accept.SYN_RECEIVED)
            self.assertEqual(self.script.said, [])

    def test_rst(self) -> None:
        self.assertEqual(self.script.take(self.client.but(flags=RST, ack=0)), [])
        self.assertTrue(self.script.empty)
        self.assertEqual(self.script.core.acceptor.flows.half_open, 0)

    def test_rst_elsewhere_in_the_window(self) -> None:
        """
        Does nothing, with or without an ACK.
        """
        for rst in (
            self.client.but(flags=RST, ack=0, seq=IRS + 2),
            self.client.but(flags=RST | ACK, seq=IRS + 2),
        ):
            self.script.take(rst)
            self.assertIs(self.state(), Accept.SYN_RECEIVED)

    def test_silence(self) -> None:
        self.assertEqual(self.script.wait(Periods().handshake), [])
        self.assertTrue(self.script.empty)
        self.assertEqual(self.script.counted("accept.handshake-timeout"), 1)
