# SPDX-License-Identifier: MIT
"""
The link between two nodes is lost at every single box that they send, L{Hello
<btcp.control.commands.Hello>} and heartbeats included.
"""

from __future__ import annotations

from collections import Counter
from itertools import product
from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.protocols.amp import ANSWER, COMMAND, ERROR, AmpBox
from twisted.trial.unittest import SynchronousTestCase

from btcp.amp.connection import BoundedAMP
from btcp.cluster.membership import Membership
from btcp.cluster.meter import LoadReading
from btcp.cluster.state import Admin, Decision
from btcp.control.commands import HandoffRefused
from btcp.control.link import ControlProtocol
from btcp.handoff import messages
from btcp.handoff.messages import Adopted, Capabilities, Reason, Refused
from tests.unit.test_cluster_membership import Config, Kept
from tests.unit.test_control_commands import HANDOFF
from tests.unit.test_control_peers import Network, Owner, adopted, termination

STEP = 0.05
BUSY = 1.5
"""Seconds in which everything is said, two heartbeats among it."""
LONG = 8.0
"""As long as it takes to dial again, and to say again what was lost."""

TAKEN, REFUSED, LATE = 1, 2, 3


class Knowing(Owner):
    """
    A node that answers, and knows what is decided.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.peers: Any = None
        self.membership = Membership(
            Config(name),
            epoch=1,
            clock=lambda: 0.0,
            storage=Kept(),
            broadcast=self._spread,
            on_weight=lambda node, weight: None,
            on_load=lambda node, load: None,
            measure=LoadReading,
            counters=Counter(),
        )

    def _spread(self, decision: Decision, to: str | None) -> None:
        self.peers.decide(decision, to)

    def peer_up(self, node: str, epoch: int, capabilities: Capabilities) -> None:
        super().peer_up(node, epoch, capabilities)
        self.membership.link_up(node, epoch)

    def peer_down(self, node: str) -> None:
        super().peer_down(node)
        self.membership.link_down(node)

    def decided(self, node: str, decision: Decision) -> None:
        self.membership.decided(node, decision)

    def handoff(self, node: str, message: messages.Handoff) -> Deferred[Adopted]:
        if message.id == REFUSED:
            return fail(HandoffRefused(Reason.OVERLOAD))
        if message.id == TAKEN:
            return succeed(adopted(message))
        return super().handoff(node, message)


@define
class Scissors:
    """
    Cuts the connection that carries box number C{at}.

    @ivar late: when the box has arrived; else it is lost.
    @ivar sent: what the boxes were.
    """

    at: int = -1
    late: bool = False
    sent: list[str] = field(factory=list)

    def send(self, protocol: ControlProtocol, box: AmpBox) -> None:
        """
        In place of L{BoundedAMP.sendBox}.
        """
        hit = len(self.sent) == self.at
        self.sent.append(kind(box))
        if not hit or self.late:
            BoundedAMP.sendBox(protocol, box)
        if hit:
            protocol.clock.callLater(STEP * self.late, self._cut, protocol)

    def _cut(self, protocol: ControlProtocol) -> None:
        if protocol.transport is not None:
            protocol.transport.abortConnection()


def kind(box: AmpBox) -> str:
    """
    @return: what a box is.
    """
    name: bytes = box.get(COMMAND, b"")
    return name.decode() or ("answer" if ANSWER in box else "error" if ERROR in box else "?")


class CutLinkTests(SynchronousTestCase):
    def run_with(self, scissors: Scissors) -> tuple[Network, list[Deferred[Any]]]:
        """
        Two nodes say all that there is to say.
        """
        self.patch(ControlProtocol, "sendBox", lambda protocol, box: scissors.send(protocol, box))
        owners = {name: Knowing(name) for name in "ab"}
        network = Network(owners=owners)
        for epoch, (name, owner) in enumerate(owners.items()):
            owner.peers = network.start(name, epoch).peers
        network.settle()
        network.advance(0.3, STEP)
        a, b = network["a"], network["b"]
        asked = [
            side.peers.hand_off(to, evolve(HANDOFF, id=id))
            for side, to in ((a, "b"), (b, "a"))
            for id in (TAKEN, REFUSED, LATE)
        ]
        for side, to in ((a, "b"), (b, "a")):
            # Not before they have seen each other: who never was there knows no flows.
            for front in "ab":
                side.peers.terminate(to, termination(5, front))
        owners["a"].membership.set_state("b", Admin.DRAIN)
        owners["b"].membership.set_weight("a", 50)
        network.advance(0.2, STEP)
        for owner in owners.values():
            for _, message, answer in owner.pending:
                answer.callback(adopted(message))
        network.advance(BUSY - 0.5, STEP)
        return network, asked

    def test_every_box(self) -> None:
        """
        Every question is answered once; every end of a flow is told; what is decided is known
        to both; nothing is left that waits.
        """
        whole = Scissors()
        self.run_with(whole)
        kinds = {"Hello", "Ping", "Load", "Decide", "Handoff", "Terminate", "WhoOwns"}
        self.assertEqual(set(whole.sent), kinds | {"answer", "error"})
        for at, late in product(range(len(whole.sent)), (False, True)):
            scissors = Scissors(at, late)
            network, asked = self.run_with(scissors)
            where = f"{scissors.sent[at]}, box {at}, {late=}"
            network.advance(LONG, STEP)
            self.assert_answered(asked, where)
            self.assert_agreed(network, where)
            self.assert_nothing_waits(network, where)

    def assert_answered(self, asked: list[Deferred[Any]], where: str) -> None:
        for deferred, id in zip(asked, (TAKEN, REFUSED, LATE) * 2, strict=True):
            answer = self.successResultOf(deferred)
            lost = Refused(id=id, reason=Reason.LINK_LOST)
            right = (
                Refused(id=id, reason=Reason.OVERLOAD)
                if id == REFUSED
                else adopted(evolve(HANDOFF, id=id))
            )
            self.assertIn(answer, (right, lost), where)

    def assert_agreed(self, network: Network, where: str) -> None:
        for name, other in (("a", "b"), ("b", "a")):
            state = network[name].peers.states()[other]
            self.assertEqual((state["state"], state["queued"]), ("up", 0), where)
            owner: Any = network[name].owner
            known = {(row["admin"], row["percent"]) for row in owner.membership.show()[:2]}
            self.assertEqual(known, {("ready", 50), ("drain", 100)}, where)
            if "dropped" not in " ".join(network[other].moved()):
                fronts = {record.front for _, record in owner.ended}
                self.assertEqual(fronts, {"a", "b"}, where)

    def assert_nothing_waits(self, network: Network, where: str) -> None:
        stopping = [network[name].peers.stopService() for name in "ab"]
        network.advance(2, STEP)
        for each in stopping:
            self.successResultOf(each)
        left = [call for call in network.reactor.getDelayedCalls() if call.active()]
        self.assertEqual(left, [], where)
