# SPDX-License-Identifier: MIT
"""
What the tests of all claims have in common.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from math import ceil
from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase

from tests.claims.evidence import Evidence
from tests.claims.packets import MODULUS, Change, Seen
from tests.claims.scene import HANDED_OFF, LOCAL, Scene, lossy, scene
from tests.claims.stage import End
from tests.modes import RAW_REPLAY, Mode


class ClaimTestCase(SynchronousTestCase):
    """
    A test of a claim tells what it has seen, with numbers.

    @cvar mode: of the cluster that it is seen on.
    """

    mode: ClassVar[Mode] = RAW_REPLAY
    _told = ""

    @property
    def scene(self) -> Scene:
        """
        What was recorded in this mode.
        """
        return scene(self.mode)

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
        return (Evidence(self.scene, each) for each in self.scene.between(front, back))

    def local(self, which: int) -> Iterator[Evidence]:
        """
        As L{handed_off}, of connections that stayed on their front-end.
        """
        node = LOCAL[which]
        return (Evidence(self.scene, each) for each in self.scene.between(node, node))

    def losing(self, evidence: Evidence) -> Evidence:
        """
        On a connection of the same nodes, with a long answer, on the way to whose client
        packets were lost.
        """
        lost, it = lossy(self.mode), evidence.connection
        (connection,) = (
            each
            for each in lost.glances
            if (each.front, each.back, each.family) == (it.front, it.back, it.family)
        )
        return Evidence(lost, connection)

    def check_mover(self, evidence: Evidence, packets: list[Seen], node: str) -> str:
        """
        Where the kernel is to move packets, a node's daemon sees the first of them, and
        from then on at most those that open or end the connection.

        @param packets: as they came to the node's programs.
        """
        raised = evidence.raised(packets, node)
        if not self.mode.in_kernel:
            self.assertEqual(len(raised), len(packets))
            return f"all by the daemon of {node}"
        moved = [each for each in packets if each not in raised]
        self.assertGreater(len(moved), 0)
        late = [each for each in raised if each.time > moved[0].time]
        self.assertEqual([str(each) for each in late if not set(each.flags) & set("SFR")], [])
        return f"all but {len(raised)} of {len(packets)} by the kernel of {node}"

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

    def check_adoption(self, evidence: Evidence, request: bytes) -> None:
        """
        The back-end's TCP has the client's connection and the request.
        """
        if self.mode.by_cookie:
            self._check_admission(evidence)
        else:
            self._check_replay(evidence)
        self.assert_intact(evidence.replayed)
        pieces = {each.seq: each.payload for each in evidence.replayed if each.payload}
        self.assertEqual(b"".join(pieces.values()), request)
        # And it believed: this is a connection like any other.
        it = evidence.connection
        sockets = evidence.talk.sockets[it.back]
        established = [line for line in sockets.splitlines() if line.startswith("ESTAB")]
        self.assertEqual(sum(_has(line, it.at_back, it.client) for line in established), 1)

    def _check_replay(self, evidence: Evidence) -> None:
        """
        It was given SYN and ACK as from the client.
        """
        it, original = evidence.connection, evidence.arrived[0]
        syn, ack, syn_ack = evidence.syn, evidence.ack, evidence.caught[0]
        self.assertEqual((syn.flags, syn_ack.flags, ack.flags), ("S", "SA", "A"))
        # The client's SYN but for its destination, which is the back-end's own address, and
        # the client's clock, which has gone on.
        self.assertEqual((syn.source, syn.destination), (it.client, it.at_back))
        self.assertEqual(syn.seq, original.seq)
        offered = original.options
        self.check_parameters(evidence, syn.window, syn.options["MSS"])
        offered["MSS"] = syn.options["MSS"]
        offered["Timestamp"] = (evidence.completing.timestamps[0], 0)
        self.assertEqual(syn.options, offered)
        self.assertEqual(syn_ack.ack, (syn.seq + 1) % MODULUS)
        self.assertEqual((ack.source, ack.destination), (it.client, it.at_back))
        self.assertEqual((ack.seq, ack.ack), (syn_ack.ack, (syn_ack.seq + 1) % MODULUS))

    def check_parameters(self, evidence: Evidence, window: int, mss: int) -> None:
        """
        @param window: what BTCP takes for the window field of the client's SYN.
        @param mss: what it takes for the SYN's MSS.
        """
        syn = evidence.arrived[0]
        offered = syn.options["MSS"]
        if self.mode.in_kernel:
            # Of a SYN that nobody kept: what the client said of its window since, and an MSS
            # that the cookie could hold.
            self.assertIn(window, evidence.windows)
            self.assertTrue(0 < mss <= offered, mss)
        else:
            self.assertEqual((window, mss), (syn.window, offered))

    def _check_admission(self, evidence: Evidence) -> None:
        """
        It was given no SYN and said none: the request itself, with the front-end's numbers,
        made the connection, and these are the numbers of its TCP.
        """
        shaken = [each for each in (*evidence.injected, *evidence.caught) if "S" in each.flags]
        self.assertEqual([str(each) for each in shaken], [])
        syn, first, said = evidence.arrived[0], evidence.injected[0], evidence.caught[0]
        self.assertEqual(evidence.injected[0].octets, evidence.written[0].octets)
        self.assertGreater(len(first.payload), 0)
        self.assertEqual(first.seq, (syn.seq + 1) % MODULUS)
        self.assertEqual(first.ack, (evidence.iss + 1) % MODULUS)
        clock = max(each.timestamps[0] for each in evidence.replied if each.time < first.time)
        # Its TCP takes the age of the echo for the client's round-trip time: BTCP sets it back by
        # what the handshake took, in whole milliseconds.
        syn_ack, ack = evidence.replied[0], evidence.arrived[1]
        self.assertEqual((syn_ack.flags, ack.flags), ("SA", "A"))
        most = ceil(1000 * float(ack.time - syn_ack.time)) + 1
        self.assertEqual(first.timestamps[0], evidence.completing.timestamps[0])
        self.assertIn((clock - first.timestamps[1]) % MODULUS, range(most + 1))
        self.assertGreater(said.time, first.time)
        self.assertEqual(said.seq, (evidence.iss + 1) % MODULUS)
        self.assertEqual((evidence.delta, evidence.stamps), (0, 0))

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
