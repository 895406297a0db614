# SPDX-License-Identifier: MIT
"""
A back-end, and templates of what its local TCP, its front-end and the client send.
"""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from btcp.handoff.messages import Endpoint, Handoff, Reason, Refused, Terminate
from btcp.handoff.states import Adopt
from btcp.wire.segment import ACK, RST, SYN, flow_key, reversed_key
from tests.simulation.cluster import ORIGIN, PORT
from tests.simulation.script import ADDRESSES, CLIENTS, Script, Tcp

INBOUND = flow_key(CLIENTS[0], 51515, ADDRESSES["a"][0], ORIGIN)
OUTBOUND = reversed_key(INBOUND)
TO_CLIENT = flow_key(ADDRESSES["b"][0], PORT, CLIENTS[0], 51515)

IRS = 2**32 - 10
ISS = 2**32 - 100
"""Of the front-end."""
ISN = 777_000
"""Of the local TCP."""
REQUEST = b"GET /a/ HTTP/1.1\r\nHost: h.example\r\n\r\n"
END = (IRS + 1 + len(REQUEST)) % 2**32

ORDER = Handoff(
    id=5,
    listener="web",
    client=Endpoint(CLIENTS[0], 51515),
    front=Endpoint(ADDRESSES["b"][0], PORT),
    irs=IRS,
    iss=ISS,
    window=64_240,
    mss=1460,
    client_scale=-1,
    front_scale=-1,
    sack=False,
    tsval=-1,
    front_tsval=-1,
    acked=0,
    request=REQUEST,
    rtt=0,
)
"""The template of a handoff: no options but an MSS, of a client that is near."""

FULL = evolve(
    ORDER, client_scale=2, front_scale=7, sack=True, tsval=2**32 - 5, front_tsval=2**32 - 50
)
"""With all options."""

SYN_OF_CLIENT = Tcp(key=INBOUND, seq=IRS, flags=SYN, window=64_240, options=b"\2\4\5\xb4")
SYN_ACK = Tcp(
    key=OUTBOUND,
    seq=ISN,
    ack=(IRS + 1) % 2**32,
    flags=SYN | ACK,
    window=65_535,
    options=b"\2\4\5\xb4",
)
SERVER = Tcp(key=OUTBOUND, seq=ISN + 1, ack=END, flags=ACK, window=502)
"""What the local TCP sends: the template."""
RESPONSE = Tcp(key=TO_CLIENT, seq=(ISS + 1) % 2**32, ack=END, flags=ACK, window=502)
"""What the client gets from us: the template."""
CLIENT = Tcp(key=INBOUND, seq=END, ack=ISN + 1, flags=ACK, window=500)
"""What the front-end forwards: the template."""
RST_OF_CLIENT = Tcp(key=INBOUND, seq=END, flags=RST)


class BackCase(SynchronousTestCase):
    """
    A script, and the templates above.
    """

    def setUp(self) -> None:
        self.begin()

    def begin(self, **changes: Any) -> None:
        """
        Start a node; C{changes} are of its settings.
        """
        self.script = Script(**changes)

    def order(self, order: Handoff = ORDER) -> None:
        """
        To REPLAYING.
        """
        self.assertEqual(self.script.hear("b", order), [])

    def deliver(self, order: Handoff = ORDER) -> None:
        """
        To REQUEST-DELIVERED.
        """
        self.order(order)
        self.assertEqual(self.script.take(SYN_ACK), [])

    def splice(self) -> None:
        """
        To SPLICED.
        """
        self.deliver()
        self.assertEqual(self.script.take(SERVER), [RESPONSE])

    def state(self) -> Adopt:
        """
        Of the only flow.
        """
        (flow,) = self.script.core.adopter.flows.outbound.values()
        return flow.state

    def refused(self, reason: Reason, order: Handoff = ORDER) -> None:
        """
        In the last step we refused, and nothing remains.
        """
        self.assertEqual(self.script.said, [("b", Refused(id=order.id, reason=reason))])
        self.assertEqual(self.script.sent, [])
        self.assertTrue(self.script.empty)

    def reported(self, reason: Reason, client_next: int, server_next: int) -> None:
        """
        In the last step we said that it is over.
        """
        message = Terminate(
            front="b",
            id=5,
            reason=reason,
            client_next=client_next % 2**32,
            server_next=server_next % 2**32,
        )
        self.assertEqual(self.script.said, [("b", message)])

    def give_up(self, reason: Reason = Reason.ABANDONED) -> list[Tcp]:
        """
        The front-end gives the flow up.
        """
        message = Terminate(front="b", id=5, reason=reason, client_next=0, server_next=0)
        return self.script.hear("b", message)
