# SPDX-License-Identifier: MIT
"""
A front-end, and templates of what its client and a back-end send.
"""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from btcp.handoff.messages import Adopted, Handoff, Reason, Terminate
from btcp.handoff.reassembly import WINDOW
from btcp.handoff.states import Accept
from btcp.wire.segment import ACK, PSH, SYN, flow_key, reversed_key
from tests.simulation.cluster import ORIGIN, PORT
from tests.simulation.script import ADDRESSES, CLIENTS, Script, Tcp

IN = flow_key(CLIENTS[0], 51515, ADDRESSES["a"][0], PORT)
OUT = reversed_key(IN)
TO_B = flow_key(CLIENTS[0], 51515, ADDRESSES["b"][0], ORIGIN)

IRS = 2**32 - 10
"""So that every request wraps."""
ISN = 777_000
"""Of the back-end's TCP."""
WINDOW_OF_SYN = 64_240

REQUEST = b"GET /b/ HTTP/1.1\r\nHost: h.example\r\n\r\n"

SYN_OF_CLIENT = Tcp(key=IN, seq=IRS, flags=SYN, window=WINDOW_OF_SYN, options=b"\2\4\5\xb4")
"""The template of a SYN: an MSS and nothing else."""


class FrontCase(SynchronousTestCase):
    """
    A script, and the templates of both sides' segments.
    """

    def setUp(self) -> None:
        self.begin()

    def begin(self, **changes: Any) -> None:
        """
        Start a node; C{changes} are of its settings.
        """
        self.script = Script(**changes)

    def open(self, syn: Tcp = SYN_OF_CLIENT) -> None:
        """
        LISTEN to SYN-RECEIVED.
        """
        (syn_ack,) = self.script.take(syn)
        self.iss = syn_ack.seq
        self.syn_ack = syn_ack
        self.client = Tcp(key=IN, seq=IRS + 1, ack=self.iss + 1, flags=ACK, window=500)
        """What the client sends: the template."""
        self.front = Tcp(
            key=OUT, seq=(self.iss + 1) % 2**32, ack=(IRS + 1) % 2**32, flags=ACK, window=WINDOW
        )
        """What the front-end sends."""

    def establish(self) -> None:
        """
        LISTEN to ESTABLISHED.
        """
        self.open()
        self.assertEqual(self.script.take(self.client), [])

    def request(self, request: bytes = REQUEST, flags: int = ACK | PSH) -> None:
        """
        LISTEN to HANDING-OFF.
        """
        self.establish()
        self.length = len(request)
        self.assertEqual(self.script.take(self.client.but(flags=flags, payload=request)), [])
        self.after = self.client.but(seq=IRS + 1 + len(request))
        """What the client sends after its request: the template."""

    def adopted(self, node: str = "b", **changes: Any) -> list[Tcp]:
        """
        A back-end has it.
        """
        message = Adopted(
            id=self.number(), isn=ISN, ts_delta=0, address=ADDRESSES[node][0], port=ORIGIN
        )
        return self.script.hear(node, evolve(message, **changes))

    def forward(self) -> None:
        """
        LISTEN to FORWARDING.
        """
        self.request()
        self.assertEqual(self.adopted(), [])
        self.back = Tcp(
            key=TO_B,
            seq=(IRS + 1 + self.length) % 2**32,
            ack=ISN + 1,
            flags=ACK,
            window=500,
        )
        """What the back-end gets from the client through us: the template."""

    def number(self) -> int:
        """
        Of the only flow.
        """
        (number,) = self.script.core.acceptor.flows.by_number
        return number

    def state(self) -> Accept:
        """
        Of the only flow.
        """
        (flow,) = self.script.core.acceptor.flows.by_key.values()
        return flow.state

    def terminate(self, reason: Reason = Reason.CLOSED, **changes: Any) -> list[Tcp]:
        """
        A back-end says that it is over.
        """
        message = Terminate(
            front="a", id=self.number(), reason=reason, client_next=0, server_next=0
        )
        return self.script.hear("b", evolve(message, **changes))

    def asked(self) -> list[str]:
        """
        Who was asked to adopt the connection in the last step.
        """
        return [node for node, message in self.script.said if isinstance(message, Handoff)]

    def abandoned(self) -> list[tuple[str, Reason]]:
        """
        Who was told in the last step that the connection is over, and why.
        """
        return [
            (node, message.reason)
            for node, message in self.script.said
            if isinstance(message, Terminate)
        ]
