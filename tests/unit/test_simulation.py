# SPDX-License-Identifier: MIT
"""
Tests for C{tests/simulation}: its TCP works without us, and complains when it should.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from btcp.handoff.splice import Rewriter, Splice
from btcp.wire.gso import split
from btcp.wire.segment import ACK, SYN, Segment
from tests.simulation.clock import Clock
from tests.simulation.cluster import packed
from tests.simulation.host import Listening, Stack
from tests.simulation.http import Browser, Request, Server
from tests.simulation.network import Faults, Network
from tests.simulation.tcp import Abilities, Connection

CLIENT, SERVER = packed("198.51.100.7"), packed("192.0.2.11")

Tampering = Callable[[Segment], None]

USUAL, QUIET = Abilities(), Faults()


class ClockTests(SynchronousTestCase):
    """
    Time that is asked for.
    """

    def test_order(self) -> None:
        clock, seen = Clock(0.0), list[tuple[str, float]]()
        for name, delay in (("b", 2.0), ("a", 1.0), ("c", 2.0), ("never", 9.0)):
            clock.call_later(delay, lambda name=name: seen.append((name, clock.now)))  # type: ignore[misc]
        self.assertFalse(clock.run(5))
        self.assertEqual(seen, [("a", 1.0), ("b", 2.0), ("c", 2.0)])
        self.assertEqual(clock.now, 5.0)

    def test_cancelled(self) -> None:
        clock, seen = Clock(), list[int]()
        clock.call_later(1, lambda: seen.append(1)).cancel()
        clock.run(5)
        self.assertEqual(seen, [])

    def test_stopped(self) -> None:
        clock, seen = Clock(0.0), list[int]()
        clock.call_later(1, lambda: seen.append(1))
        self.assertTrue(clock.run(5, lambda: bool(seen)))
        self.assertEqual(clock.now, 1.0)


class DirectTests(SynchronousTestCase):
    """
    A client and a server, and nothing between them but a network.
    """

    def run_direct(
        self,
        seed: int = 1,
        faults: Faults = QUIET,
        can: Abilities = USUAL,
        tamper: Tampering = lambda segment: None,
        seconds: float = 200.0,
    ) -> tuple[Connection, list[str]]:
        """
        @param tamper: does something to each packet of the server.
        @return: the client's end when all is over, and all complaints.
        """
        clock, random = Clock(), Random(seed)
        network = Network(clock, random, faults)

        def send(segment: Segment) -> None:
            for packet in split(segment):
                network.send(bytes(packet))

        def tampered(segment: Segment) -> None:
            tamper(segment)
            send(segment)

        self.client = client = Stack("client", clock, random, send)
        server = Stack("server", clock, random, tampered)
        network.hosts.update({CLIENT: client.receive, SERVER: server.receive})
        server.listening[80] = Listening(can, lambda: Server(served))
        served: list[Connection] = []
        self.browser = Browser([Request(response=60_000, body=30_000)])
        connection = client.connect(CLIENT, (SERVER, 80), can, self.browser)
        clock.run(seconds, lambda: not client.connections and not server.connections)
        self.served = served
        return connection, client.complaints + server.complaints + network.oversized

    def test_everything_arrives(self) -> None:
        for seed in range(15):
            random = Random(seed)
            can = Abilities(
                sack=random.random() < 0.5,
                timestamps=random.random() < 0.5,
                delayed=random.random() < 0.5,
                odd=random.random() < 0.5,
                batch=random.choice([1, 8]),
            )
            faults = Faults(loss=0.05, doubling=0.05, late=0.1)
            connection, said = self.run_direct(seed, faults, can)
            self.assertEqual(said, [], seed)
            self.assertEqual(connection.received, bytes(self.browser.expected))
            (served,) = self.served
            self.assertEqual(served.received, bytes(self.browser.sent))
            self.assertTrue(self.browser.done)
            self.assertFalse(connection.timed_out)

    def complains(self, tamper: Tampering, word: str, can: Abilities = USUAL) -> None:
        """
        Somebody complains of that, and of nothing else.
        """
        _, said = self.run_direct(tamper=tamper, can=can, seconds=1.0)
        self.assertTrue(said)
        self.assertEqual([each for each in said if word not in each], [])

    def rewriting(self, rule: Splice) -> Tampering:
        """
        Rewrites all but SYN/ACKs.
        """

        def tamper(segment: Segment) -> None:
            if not segment.flags & SYN:
                key = segment.key
                Rewriter(evolve(rule, old=key, new=key)).apply(segment)

        return tamper

    def test_wrong_checksum(self) -> None:
        def tamper(segment: Segment) -> None:
            segment.buffer[-1] ^= 1

        self.complains(tamper, "checksum")

    def test_wrong_timestamps(self) -> None:
        rule = Splice(old=b"", new=b"", tsecr=100_000)
        self.complains(self.rewriting(rule), "TSecr")

    def test_no_timestamps(self) -> None:
        def tamper(segment: Segment) -> None:
            if not segment.flags & SYN:
                segment.buffer[segment.tcp + 20 : segment.tcp + 32] = b"\1" * 12
                segment.complete_checksum()

        self.complains(tamper, "without timestamps")

    def test_wrong_acknowledgments(self) -> None:
        rule = Splice(old=b"", new=b"", ack=1_000_000)
        self.complains(self.rewriting(rule), "an ACK of")

    def test_wrong_sack(self) -> None:
        """
        The acknowledgment number is right, the edges are not.
        """

        def tamper(segment: Segment) -> None:
            if not segment.flags & SYN:
                ack = segment.ack
                self.rewriting(Splice(old=b"", new=b"", ack=10_000_000))(segment)
                at = segment.tcp + 8
                segment.buffer[at : at + 4] = ack.to_bytes(4, "big")
                segment.complete_checksum()

        _, said = self.run_direct(3, Faults(loss=0.1), tamper=tamper)
        self.assertTrue(any("SACK of" in each for each in said), said)

    def test_window_taken_back(self) -> None:
        count = [0]

        def tamper(segment: Segment) -> None:
            count[0] += 1
            if count[0] == 30:
                self.rewriting(Splice(old=b"", new=b"", shift=-3))(segment)

        self.complains(tamper, "moved back")

    def test_larger_than_the_mss(self) -> None:
        """
        The MSS that the client offered does not reach the server.
        """

        def tamper(segment: Segment) -> None:
            client = self.client.connections.get(segment.key)
            if client is not None:
                client.mss = 1000

        self.complains(tamper, "though the MSS is 1000")

    def test_options_never_offered(self) -> None:
        def tamper(segment: Segment) -> None:
            if segment.flags & (SYN | ACK) == SYN | ACK:
                segment.buffer[segment.tcp + 20 : segment.tcp + 24] = b"\4\2\1\1"
                segment.complete_checksum()

        plain = Abilities(scale=-1, sack=False, timestamps=False)
        self.complains(tamper, "SACK that we did not offer", plain)

    def test_oversized(self) -> None:
        network = Network(Clock(), Random(1))
        network.send(b"E" + bytes(1500))
        self.assertEqual(network.oversized, ["a packet of 1501 octets"])
