# SPDX-License-Identifier: MIT
"""
What the tests of all claims have in common.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from twisted.trial.unittest import SynchronousTestCase

from tests.claims.evidence import Evidence
from tests.claims.packets import MODULUS, Change, Seen
from tests.claims.scene import HANDED_OFF, LOCAL, scene
from tests.claims.stage import End


class ClaimTestCase(SynchronousTestCase):
    """
    A test of a claim tells what it has seen, with numbers.
    """

    _told = ""

    def shortDescription(self) -> str | None:
        """
        What was seen, once it was.
        """
        return self._told or super().shortDescription()

    def tell(self, *phrases: str) -> None:
        """
        Called at the end of a test.
        """
        self._told = "; ".join(phrases)

    def handed_off(self, which: int) -> Iterator[Evidence]:
        """
        @param which: 0 or 1, for the first or second claim of a pair.
        @return: evidence on a connection handed off over IPv4, and one over IPv6.
        """
        front, back = HANDED_OFF[which]
        return (Evidence(scene(), each) for each in scene().between(front, back))

    def local(self, which: int) -> Iterator[Evidence]:
        """
        As L{handed_off}, of connections that stayed on their front-end.
        """
        node = LOCAL[which]
        return (Evidence(scene(), each) for each in scene().between(node, node))

    def assert_moved(self, before: list[Seen], after: list[Seen], change: Change) -> None:
        """
        Of each packet came one, changed just so.
        """
        left = Counter(each.octets for each in after)
        for each in before:
            octets = each.after(change)
            if not left[octets]:
                self.fail(f"nothing came of {each} by {change}")
            left[octets] -= 1

    def assert_come(self, after: list[Seen], before: list[Seen], change: Change) -> None:
        """
        Each packet came of another one, changed just so.
        """
        left = Counter(each.after(change) for each in before)
        for each in after:
            if not left[each.octets]:
                self.fail(f"{each} came of nothing by {change}")
            left[each.octets] -= 1

    def assert_intact(self, packets: list[Seen]) -> None:
        """
        All checksums are right.
        """
        self.assertEqual([str(each) for each in packets if not each.intact()], [])

    def check_replay(self, evidence: Evidence, request: bytes) -> None:
        """
        The back-end's TCP was given SYN, ACK and request as from the client.
        """
        it, original = evidence.connection, evidence.arrived[0]
        syn, ack, syn_ack = evidence.syn, evidence.ack, evidence.caught[0]
        self.assertEqual((syn.flags, syn_ack.flags, ack.flags), ("S", "SA", "A"))
        # The client's SYN but for its destination, which is the back-end's own address, and
        # the client's clock, which has gone on.
        self.assertEqual((syn.source, syn.destination), (it.client, it.at_back))
        self.assertEqual((syn.seq, syn.window), (original.seq, original.window))
        offered = original.options
        offered["Timestamp"] = (evidence.completing.timestamps[0], 0)
        self.assertEqual(syn.options, offered)
        self.assertEqual(syn_ack.ack, (syn.seq + 1) % MODULUS)
        self.assertEqual((ack.source, ack.destination), (it.client, it.at_back))
        self.assertEqual((ack.seq, ack.ack), (syn_ack.ack, (syn_ack.seq + 1) % MODULUS))
        self.assert_intact(evidence.replayed)
        pieces = {each.seq: each.payload for each in evidence.replayed if each.payload}
        self.assertEqual(b"".join(pieces.values()), request)
        # And it believed: this is a connection like any other.
        sockets = evidence.talk.sockets[it.back]
        established = [line for line in sockets.splitlines() if line.startswith("ESTAB")]
        self.assertEqual(sum(_has(line, it.at_back, it.client) for line in established), 1)

    def show(self, evidence: Iterator[Evidence], check: Callable[[Evidence], str]) -> None:
        """
        Check over IPv4 and IPv6, and tell both.
        """
        said = [f"{each}: {check(each)}" for each in evidence]
        self.assertEqual(len(said), 2)
        self.tell(*said)


def _has(line: str, own: End, other: End) -> bool:
    """
    @return: whether a line of C{ss} is about these two ends.
    """
    return [_text(own), _text(other)] == line.split()[3:5]


def _text(end: End) -> str:
    address, port = end
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
