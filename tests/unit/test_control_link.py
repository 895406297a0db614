# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.control.link} and L{btcp.amp.connection}: peers that do not
behave, and what they cannot do to the others.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from socket import AF_INET, SO_RCVBUF, SO_SNDBUF, SOCK_STREAM, SOL_SOCKET, socket
from typing import Any

from hypothesis import given, settings, strategies
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.error import CannotListenError, ConnectionRefusedError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import LogLevel, globalLogPublisher
from twisted.protocols.amp import AmpBox, parseString
from twisted.python.failure import Failure
from twisted.test.iosim import FakeTransport
from twisted.trial.unittest import SynchronousTestCase, TestCase

from btcp.amp import connection
from btcp.amp.boxes import MAX_BOX, serialize
from btcp.amp.warnings import INTERVAL
from btcp.control import link
from btcp.control.commands import Terminate
from btcp.control.link import ControlProtocol
from btcp.control.peers import MAX_GREETING_OF_HOST, Peers
from btcp.control.protection import Unprotected
from btcp.handoff.messages import Adopted, Reason, Refused
from tests.unit.test_control_commands import HANDOFF, handoff_box, hello_box
from tests.unit.test_control_peers import (
    CAPABILITIES,
    Config,
    ControlConfig,
    Network,
    NodeConfig,
    Owner,
    adopted,
    termination,
)

HELLO = hello_box()


def ask(command: bytes, box: dict[bytes, bytes] | None = None, tag: bytes = b"1") -> bytes:
    """
    A question on the wire.
    """
    return serialize(AmpBox({**(box or {}), b"_command": command, b"_ask": tag}))


class Stranger:
    """
    Somebody who connected to C{b} from some address.
    """

    def __init__(self, network: Network, host: str = "192.0.2.11") -> None:
        self.network = network
        factory: Any = next(s[1] for s in network.reactor.tcpServers if s[3] == "192.0.2.12")
        here, there = IPv4Address("TCP", host, 1234), IPv4Address("TCP", "192.0.2.12", 7311)
        self.protocol: Any = factory.buildProtocol(here)
        self.transport: Any = FakeTransport(self.protocol, True, there, here)
        self.refused = self.protocol is None
        if not self.refused:
            self.protocol.makeConnection(self.transport)

    def say(self, data: bytes) -> bytes:
        """
        @return: what is answered.
        """
        if not self.transport.disconnecting:
            self.protocol.dataReceived(data)
        self.network.settle()
        return self.transport.getOutBuffer() or b""

    @property
    def closed(self) -> bool:
        """
        Whether the connection was closed on us.
        """
        return bool(self.transport.disconnecting)


class AcceptTests(TestCase):
    """
    Who may connect.
    """

    def setUp(self) -> None:
        self.network = Network("b")
        self.b = self.network["b"]
        self.events = EventLoggingObserver.createWithCleanup(self, globalLogPublisher)

    def warnings(self) -> int:
        """
        How many lines were logged that are more than information.
        """
        return sum(event["log_level"] >= LogLevel.warn for event in self.events)

    def test_stranger(self) -> None:
        self.assertTrue(Stranger(self.network, "198.51.100.1").refused)
        self.assertEqual(self.b.moved(), {"control.stranger": 1})
        self.assertEqual(self.warnings(), 1)

    def test_silence(self) -> None:
        stranger = Stranger(self.network)
        self.network.advance(4.9)
        self.assertFalse(stranger.closed)
        self.network.advance(0.2)
        self.assertTrue(stranger.closed)
        self.assertEqual(self.b.moved(), {"control.silent": 1})
        self.assertEqual(self.warnings(), 1)

    def test_crowd(self) -> None:
        """
        One host can keep some places busy, and no others.
        """
        crowd = [Stranger(self.network) for _ in range(MAX_GREETING_OF_HOST)]
        self.assertTrue(Stranger(self.network).refused)
        self.assertEqual(self.b.moved(), {"control.crowded": 1})
        crowd[0].protocol.connectionLost(Failure(ConnectionRefusedError()))
        self.assertFalse(Stranger(self.network).refused)
        self.assertEqual(self.warnings(), 1)

    def test_warnings_are_bounded(self) -> None:
        """
        A stranger cannot fill the log; the next warning says how many were left out.
        """
        for _ in range(100):
            Stranger(self.network, "198.51.100.1")
        self.assertEqual((self.b.moved(), self.warnings()), ({"control.stranger": 100}, 1))
        self.network.advance(INTERVAL + 1)
        Stranger(self.network, "198.51.100.1")
        self.assertEqual(self.warnings(), 2)
        self.assertEqual(self.events[-1]["left_out"], 99)

    def test_address_taken(self) -> None:
        """
        A node that cannot listen does not start.
        """

        def listen(*args: object, **kwargs: object) -> None:
            raise OSError("in use")

        self.patch(self.network.reactor, "listenTCP", listen)
        self.assertRaises(OSError, self.network.start, "a", 1)


class HelloTests(SynchronousTestCase):
    """
    Who may say that he is whom.
    """

    def setUp(self) -> None:
        self.network = Network("b")
        self.b = self.network["b"]

    def refused(self, said: bytes, host: str = "192.0.2.11") -> str:
        """
        C{said} first is refused.

        @return: with which words.
        """
        stranger = Stranger(self.network, host)
        [answer] = parseString(stranger.say(said))
        self.assertEqual(answer[b"_error_code"], b"REFUSED")
        self.assertTrue(stranger.closed)
        self.assertEqual(self.b.moved(), {"control.refused-hello": 1})
        self.assertEqual(self.b.owner.said, [])
        self.assertEqual(stranger.say(ask(b"Hello", HELLO)), b"")
        self.b.counters.clear()
        return str(answer[b"_error_description"], "utf-8")

    def test_welcome(self) -> None:
        """
        The dialer hears who answers only after it said who it is.
        """
        stranger = Stranger(self.network)
        self.assertEqual(stranger.say(b""), b"")
        answer, hello, ping, load, owns = parseString(stranger.say(ask(b"Hello", HELLO)))
        self.assertEqual(answer, {b"_answer": b"1"})
        self.assertEqual((hello[b"_command"], hello[b"node"]), (b"Hello", b"b"))
        self.assertEqual((ping[b"_command"], load[b"_command"]), (b"Ping", b"Load"))
        self.assertEqual((owns[b"_command"], owns[b"numbers"]), (b"WhoOwns", b""))
        self.assertEqual(self.b.owner.said, [("up", "a", 7)])

    def test_handoff_first(self) -> None:
        self.assertIn("before Hello", self.refused(ask(b"Handoff", handoff_box())))

    def test_unknown_command_first(self) -> None:
        self.assertIn("before Hello", self.refused(ask(b"\xff" * 1000)))

    def test_names(self) -> None:
        for name, words in (
            (b"nobody", "not a node"),
            (b"b", "this node itself"),
            (b"c", "not the reverse"),
            (b"\xff", "Hello:"),
        ):
            self.assertIn(words, self.refused(ask(b"Hello", {**HELLO, b"node": name})))

    def test_other_nodes_address(self) -> None:
        self.assertIn("not an address of", self.refused(ask(b"Hello", HELLO), "192.0.2.13"))

    def test_version(self) -> None:
        said = ask(b"Hello", {**HELLO, b"version": b"3", b"newest": b"4"})
        self.assertIn("version", self.refused(said))

    def test_malformed(self) -> None:
        self.refused(ask(b"Hello"))
        self.refused(ask(b"Hello", {**HELLO, b"epoch": b"x"}))

    def test_twice(self) -> None:
        """
        A second Hello on a link is a command that nobody knows.
        """
        stranger = Stranger(self.network)
        stranger.say(ask(b"Hello", HELLO))
        [answer] = parseString(stranger.say(ask(b"Hello", HELLO)))
        self.assertEqual(answer[b"_error_code"], b"UNHANDLED")
        self.assertEqual(self.b.owner.said, [("up", "a", 7)])

    def test_wrong_node_answers(self) -> None:
        """
        The dialer, too, looks at whom it reached.
        """
        dialing = ControlProtocol(self.b.peers, "c")
        transport = FakeTransport(
            dialing, False, peerAddress=IPv4Address("TCP", "192.0.2.13", 7311)
        )
        dialing.makeConnection(transport)
        transport.getOutBuffer()
        dialing.dataReceived(ask(b"Hello", {**HELLO, b"node": b"a"}))
        self.assertTrue(transport.disconnecting)
        self.assertEqual(self.b.owner.said, [])

    def test_refused_by_peer(self) -> None:
        dialing = ControlProtocol(self.b.peers, "c")
        transport = FakeTransport(
            dialing, False, peerAddress=IPv4Address("TCP", "192.0.2.13", 7311)
        )
        dialing.makeConnection(transport)
        [hello] = parseString(transport.getOutBuffer())
        error = {
            b"_error_code": b"REFUSED",
            b"_error_description": b"no",
            b"_error": hello[b"_ask"],
        }
        dialing.dataReceived(serialize(AmpBox(error)))
        self.assertTrue(transport.disconnecting)
        self.assertEqual(self.b.moved(), {"control.refused-by-peer": 1})


class MisbehaviourTests(TestCase):
    """
    A peer whose Hello was accepted can harm nobody but itself.
    """

    def setUp(self) -> None:
        self.network = Network("b", "c")
        self.b = self.network["b"]
        self.peer = Stranger(self.network)
        self.peer.say(ask(b"Hello", HELLO))
        self.b.owner.said.clear()

    def tearDown(self) -> None:
        """
        Whatever was said, the other peer did not notice.
        """
        self.assertNotIn(("down", "c"), self.b.owner.said)
        self.assertEqual(self.network["c"].owner.said, [("up", "b", 1)])
        self.assertEqual(self.network["c"].moved(), {})
        answer = self.network["c"].peers.hand_off("b", HANDOFF)
        self.network.settle()
        self.b.owner.pending[-1][2].callback(adopted(HANDOFF))
        self.network.settle()
        self.assertEqual(self.successResultOf(answer), adopted(HANDOFF))

    def answered(self, said: bytes, code: bytes) -> None:
        """
        C{said} is answered with the error C{code} and the link goes on.
        """
        [answer] = parseString(self.peer.say(said))
        self.assertEqual((answer[b"_error"], answer[b"_error_code"]), (b"1", code))
        [answer] = parseString(self.peer.say(ask(b"Ping", tag=b"2")))
        self.assertEqual(answer, {b"_answer": b"2"})

    def dropped(self, said: bytes, counter: str = "control.malformed") -> None:
        """
        C{said} ends the link.
        """
        self.assertEqual(self.peer.say(said), b"")
        self.assertTrue(self.peer.closed)
        self.assertEqual(self.b.owner.said, [("down", "a")])
        self.assertEqual(self.b.moved(), {counter: 1})

    def test_garbage(self) -> None:
        self.dropped(b"GET / HTTP/1.1\r\n\r\n")

    def test_garbage_is_logged_once(self) -> None:
        events = EventLoggingObserver.createWithCleanup(self, globalLogPublisher)
        self.peer.say(b"\xff" * 100)
        self.peer.say(b"\xff" * 100)
        self.assertEqual(sum(event["log_level"] >= LogLevel.warn for event in events), 1)

    def test_too_many_keys(self) -> None:
        self.dropped(b"".join(b"\0\4%04x\0\0" % number for number in range(10000)))

    def test_too_large_box(self) -> None:
        value = b"\xff\xff" + b"x" * 65535
        self.dropped(b"".join(b"\0\1%x" % number + value for number in range(10)))

    def test_half_a_box(self) -> None:
        """
        It waits, and so do we.
        """
        said = ask(b"Ping")
        self.assertEqual(self.peer.say(said[:9]), b"")
        self.assertEqual(parseString(self.peer.say(said[9:])), [{b"_answer": b"1"}])

    def test_empty_box(self) -> None:
        self.dropped(b"\0\0")

    def test_answers_to_nothing(self) -> None:
        for box in (
            {b"_answer": b"999"},
            {b"_error": b"999", b"_error_code": b"X", b"_error_description": b"x"},
            {b"_command": b"Ping"},
            {b"_error": b"2"},
        ):
            self.setUp()
            self.dropped(serialize(AmpBox(box)))

    def test_incomplete_error(self) -> None:
        """
        An error about a question of ours that lacks a key ends the link, and the
        question is still answered.
        """
        answer = self.b.peers.hand_off("a", HANDOFF)
        boxes = parseString(self.peer.say(b""))
        tag = next(box[b"_ask"] for box in boxes if box[b"_command"] == b"Handoff")
        self.dropped(serialize(AmpBox({b"_error": tag})))
        self.successResultOf(answer)

    def test_malformed_answer(self) -> None:
        """
        An answer out of range, and a reason nobody knows, are refusals.
        """
        for box in (
            {b"_answer": b"%x", b"adopted": b"xxx"},
            {b"_answer": b"%x"},
            {b"_error": b"%x", b"_error_code": b"REFUSED", b"_error_description": b"\xff"},
            {b"_error": b"%x", b"_error_code": b"??", b"_error_description": b""},
        ):
            answer = self.b.peers.hand_off("a", HANDOFF)
            boxes = parseString(self.peer.say(b""))
            tag = next(box[b"_ask"] for box in boxes if box[b"_command"] == b"Handoff")
            filled = {key: tag if value == b"%x" else value for key, value in box.items()}
            self.peer.say(serialize(AmpBox(filled)))
            refused = Refused(id=HANDOFF.id, reason=Reason.UNREACHABLE)
            self.assertEqual(self.successResultOf(answer), refused)
        self.assertFalse(self.peer.closed)
        self.assertEqual(self.b.moved(), {"control.handoff-error": 4})

    def test_malformed_handoff(self) -> None:
        self.answered(ask(b"Handoff", {**handoff_box(), b"state": b"x"}), b"MALFORMED")
        self.answered(ask(b"Handoff"), b"MALFORMED")
        self.assertEqual(self.b.owner.pending, [])
        self.assertEqual(self.b.moved(), {"control.malformed": 2})

    def test_malformed_terminate(self) -> None:
        self.answered(ask(b"Terminate", {b"front": b"a", b"records": b"x"}), b"MALFORMED")

    def test_unknown_flows(self) -> None:
        box = Terminate.makeArguments({"records": [termination(), termination(2)]}, None)
        [answer] = parseString(self.peer.say(ask(b"Terminate", box)))
        self.assertEqual(answer, {b"_answer": b"1", b"unknown": b"2"})
        self.assertEqual(self.b.moved(), {})

    def test_unknown_commands(self) -> None:
        """
        What AMP itself would answer is not offered either.
        """
        for name in (b"Nothing", b"StartTLS", b"\xff\xfe", b"", b"__init__"):
            self.answered(ask(name), b"UNHANDLED")
        self.assertEqual(self.b.moved(), {"control.unknown-command": 5})

    def test_too_many_handoffs(self) -> None:
        """
        Handoffs that are not answered yet are bounded.
        """
        self.patch(link, "MAX_PENDING", 5 * (link.HANDOFF_SIZE + len(HANDOFF.request)))
        said = b"".join(ask(b"Handoff", handoff_box(), b"%d" % tag) for tag in range(8))
        answers = parseString(self.peer.say(said))
        self.assertEqual([answer[b"_error_description"] for answer in answers], [b"overload"] * 3)
        self.assertEqual(len(self.b.owner.pending), 5)
        self.b.owner.pending[0][2].callback(adopted(HANDOFF))
        [answer] = parseString(self.peer.say(ask(b"Handoff", handoff_box(), b"9")))
        self.assertIn(b"_answer", answer)
        self.assertEqual(len(self.b.owner.pending), 6)

    def test_does_not_read(self) -> None:
        """
        Answers that nobody reads are bounded.
        """
        self.patch(connection, "MAX_UNREAD", 1000)
        self.peer.transport.producer.pauseProducing()
        for _ in range(60):
            self.peer.protocol.dataReceived(ask(b"Ping"))
        self.assertFalse(self.peer.closed)
        self.peer.transport.producer.resumeProducing()
        self.peer.transport.producer.pauseProducing()
        for _ in range(80):
            self.peer.protocol.dataReceived(ask(b"Ping"))
        self.peer.transport.getOutBuffer()
        self.network.settle()
        self.network.reactor.advance(0)
        self.dropped(b"", "control.unread")

    @settings(deadline=None, max_examples=200)
    @given(
        strategies.binary(max_size=400),
        strategies.sampled_from((b"Handoff", b"Terminate", b"Ping", b"Hello", b"?")),
        strategies.integers(0, 2000),
        strategies.randoms(use_true_random=False),
    )
    def test_any_octets(self, data: bytes, name: bytes, cut: int, random: Random) -> None:
        """
        Any octets, and any damage to a good question, are answered, or waited
        for, or end this one link; nothing else.
        """
        self.setUp()
        said = bytearray(ask(name, {**handoff_box(), b"front": b"a", b"records": b""}))
        for _ in range(random.randrange(4)):
            said[random.randrange(len(said))] = random.randrange(256)
        said[cut:cut] = data
        self.peer.say(bytes(said))
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertEqual(self.b.peers._peers["a"].link is None, self.peer.closed)
        self.assertLessEqual(len(self.peer.protocol._reader._rest), MAX_BOX)
        self.tearDown()


class SmallTransport:
    """
    A transport whose buffer takes a few octets.
    """

    def __init__(self) -> None:
        self.producer: Any = None
        self.buffer = b""
        self.sent = b""
        self.closed = False

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def write(self, data: bytes) -> None:
        self.buffer += data
        if len(self.buffer) > 4 and self.producer is not None:
            self.producer.pauseProducing()

    def writeSequence(self, data: list[bytes]) -> None:
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        self.closed = True

    def drain(self) -> None:
        """
        The peer reads what is in the buffer.
        """
        self.sent, self.buffer = self.sent + self.buffer, b""
        if self.producer is not None:
            self.producer.resumeProducing()


class BacklogTests(SynchronousTestCase):
    """
    Tests for L{connection.Backlog}.
    """

    def setUp(self) -> None:
        self.transport = SmallTransport()
        self.backlog = connection.Backlog(self.transport)
        for digit in b"0123456789":
            self.backlog.write(bytes((digit,)))

    def test_order(self) -> None:
        """
        What is held back is counted, and goes out in order, a buffer at a time.
        """
        self.assertEqual((self.transport.buffer, self.backlog.octets), (b"01234", 5))
        self.transport.drain()
        self.backlog.write(b"x")
        self.assertEqual((self.transport.buffer, self.backlog.octets), (b"56789", 1))
        self.transport.drain()
        self.transport.drain()
        self.assertEqual((self.transport.sent, self.backlog.octets), (b"0123456789x", 0))

    def test_finish(self) -> None:
        """
        Closing loses nothing.
        """
        self.backlog.finish()
        self.transport.drain()
        self.assertEqual((self.transport.sent, self.transport.closed), (b"0123456789", True))

    def test_lost(self) -> None:
        """
        Nothing is kept for a connection that is gone.
        """
        self.backlog.stopProducing()
        self.transport.drain()
        self.assertEqual((self.transport.sent, self.backlog.octets), (b"01234", 0))


def free_port(host: str) -> int:
    """
    A port nobody listens on.
    """
    with socket(AF_INET, SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


class LoopbackTests(TestCase):
    """
    Two nodes and real TCP, on loopback.
    """

    def setUp(self) -> None:
        self.nodes = {}
        for name, last in (("a", 11), ("b", 12)):
            host = f"127.0.0.{last}"
            self.nodes[name] = NodeConfig((bytes((127, 0, 0, last)),), (host, free_port(host)))

    def start(self, name: str, heartbeat: float = 0.05) -> tuple[Peers, Owner, Counter[str]]:
        """
        Start a node.
        """
        owner: Owner = Owner()
        counters: Counter[str] = Counter()
        peers = Peers(
            Config(name, self.nodes, ControlConfig(heartbeat)),
            epoch=1,
            capabilities=CAPABILITIES,
            owner=owner,
            reactor=reactor,
            counters=counters,
            protection=Unprotected(),
        )
        peers.startService()
        self.addCleanup(peers.stopService)
        return peers, owner, counters

    @inlineCallbacks
    def until(self, condition: Any) -> Any:
        """
        Wait.
        """
        for _ in range(500):
            if condition():
                return
            yield deferLater(IReactorTime(reactor), 0.01)
        self.fail("it did not happen")

    @inlineCallbacks
    def test_handoff(self) -> Any:
        """
        A link, a handoff each way, terminations, round-trip times.
        """
        (a, a_owner, a_counters), (b, b_owner, b_counters) = self.start("a"), self.start("b")
        yield self.until(lambda: a_owner.said and b_owner.said)
        for peers, owner, node in ((a, b_owner, "b"), (b, a_owner, "a")):
            answer: Deferred[Any] = peers.hand_off(node, HANDOFF)
            yield self.until(lambda owner=owner: owner.pending)
            owner.pending[0][2].callback(adopted(HANDOFF))
            self.assertIsInstance((yield answer), Adopted)
        a.terminate("b", termination())
        yield self.until(lambda: b_owner.ended)
        yield self.until(lambda: a.states()["b"]["rtt"] and not a.states()["b"]["queued"])
        for peers, node in ((a, "b"), (b, "a")):
            made = peers._peers[node].link
            assert made is not None
            self.assertTrue(made.transport.getTcpNoDelay())
        self.assertEqual(a.states()["b"]["address"], "127.0.0.12")
        self.assertEqual(b.states()["a"]["address"], "127.0.0.11")
        self.assertEqual(+a_counters, {"control.terminate-unknown": 1})
        self.assertEqual(+b_counters, {})

    @inlineCallbacks
    def test_address_in_use(self) -> Any:
        a, _, _ = self.start("a")
        self.assertRaises(CannotListenError, self.start, "a")
        yield None

    @inlineCallbacks
    def test_peer_that_reads_late(self) -> Any:
        """
        What it did not read in time was kept, in order.
        """
        self.patch(connection, "MAX_UNREAD", 1 << 30)
        b, owner, counters = self.start("b", heartbeat=60)
        count, received = 20000, b""
        with socket(AF_INET, SOCK_STREAM) as peer:
            peer.setsockopt(SOL_SOCKET, SO_RCVBUF, 32768)
            peer.bind(("127.0.0.11", 0))
            peer.connect(self.nodes["b"].control)
            peer.setblocking(False)
            peer.sendall(ask(b"Hello", HELLO))
            yield self.until(lambda: b._peers["a"].link is not None)
            made = b._peers["a"].link
            assert made is not None and made.transport is not None
            # Or the kernel's buffer may grow until it holds all the answers.
            made.transport.socket.setsockopt(SOL_SOCKET, SO_SNDBUF, 32768)
            unsent = b"".join(ask(b"Nothing", tag=b"%d" % tag) for tag in range(count))
            while unsent:
                try:
                    unsent = unsent[peer.send(unsent) :]
                except BlockingIOError:
                    pass
                yield deferLater(IReactorTime(reactor), 0)
            yield self.until(lambda: counters["control.unknown-command"] == count)
            self.assertGreater(made._backlog.octets, 0)
            last = serialize(AmpBox({b"_error": b"%d" % (count - 1)}))[:-2]
            while last not in received[-200:]:
                try:
                    data = peer.recv(1 << 20)
                except BlockingIOError:
                    yield deferLater(IReactorTime(reactor), 0)
                else:
                    self.assertTrue(data)
                    received += data
        tags = [box[b"_error"] for box in parseString(received) if b"_error" in box]
        self.assertEqual(tags, [b"%d" % tag for tag in range(count)])
        yield self.until(lambda: len(owner.said) == 2)

    @inlineCallbacks
    def test_peer_that_does_not_read(self) -> Any:
        """
        It is given up, and what was kept for it is given back.
        """
        self.patch(connection, "MAX_UNREAD", 300000)
        b, owner, counters = self.start("b", heartbeat=60)
        with socket(AF_INET, SOCK_STREAM) as peer:
            peer.setsockopt(SOL_SOCKET, SO_SNDBUF, 65536)
            peer.bind(("127.0.0.11", 0))
            peer.connect(self.nodes["b"].control)
            peer.sendall(ask(b"Hello", HELLO))
            yield self.until(lambda: owner.said)
            peer.setblocking(False)
            questions = ask(b"Nothing") * 1000
            for _ in range(2000):
                try:
                    peer.send(questions)
                except BlockingIOError:
                    pass
                except ConnectionError:
                    break
                yield deferLater(IReactorTime(reactor), 0)
                if len(owner.said) > 1:
                    break
            self.assertEqual(owner.said, [("up", "a", 7), ("down", "a")])
            self.assertEqual(counters["control.unread"], 1)
