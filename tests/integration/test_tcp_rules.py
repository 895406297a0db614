# SPDX-License-Identifier: MIT
"""
The rules of TCP that must hold, on the wire, each over IPv4 and IPv6.
"""

from __future__ import annotations

import re
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from btcp.datapath.raw.datapath import TAP
from btcp.lab.topology import CLIENT, LISTEN_PORT, ORIGIN_PORT, ROUTER, SHARED, url
from tests.claims.packets import MODULUS, Seen, between
from tests.claims.scene import counts, emptied, end, sockets
from tests.claims.stage import End, Stage, answer, dial, request
from tests.claims.tape import recording
from tests.integration import handmade, odd_origin

_ODD_PORT = 81
_ODD_ORIGIN = 8081
_STAGE = Stage(
    "claimstcp",
    {
        "listeners": {
            "web": {"port": LISTEN_PORT, "origin": ORIGIN_PORT},
            "odd": {"port": _ODD_PORT, "origin": _ODD_ORIGIN},
        }
    },
)
_FAMILIES = (4, 6)
_PAIRS = (("a", "b"), ("b", "b"))
"""Front-end and back-end: a handoff, and a connection that stays."""

_SOON = 1.0
_RESET = struct.pack("ii", 1, 0)
_NOTHING = {"front": 0, "back": 0}
_HEADERS_ONLY = 160


class RulesTestCase(SynchronousTestCase):
    """
    @ivar lab: stands, with a daemon on each node.
    """

    def setUp(self) -> None:
        self.lab = _STAGE.lab()

    def tcp_counters(self, node: str, *names: str) -> dict[str, int]:
        """
        Of the node's kernel, as nstat has them.
        """
        text = self.lab.exec(node, ["cat", "/proc/net/netstat"]).stdout.decode()
        keys, values = re.findall(r"^TcpExt: (.*)$", text, re.MULTILINE)
        found = dict(zip(keys.split(), map(int, values.split()), strict=True))
        return {name: found[name] for name in names}

    def counter(self, node: str, name: str) -> int:
        """
        Of the node's daemon.
        """
        counters: dict[str, int] = self.lab.query(node, "stats")["counters"]
        return counters.get(name, 0)

    def set(self, host: str, key: str, value: str) -> None:
        """
        Change a sysctl of a host until the test is over.
        """
        before = self.lab.exec(host, ["sysctl", "-n", key]).stdout.decode().strip()
        self.lab.exec(host, ["sysctl", "-q", f"{key}={value}"])
        self.addCleanup(self.lab.exec, host, ["sysctl", "-q", f"{key}={before}"])

    def await_that(self, holds: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)

    def curl(self, *arguments: str) -> bytes:
        done = self.lab.exec(CLIENT, ["curl", "-sS", "-m", "30", *arguments])
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def download(self, family: int, front: str, back: str) -> None:
        path = f"/{back}/10m"
        self.assertTrue(self.curl(url(front, family, path)) == self.lab.content(path))


class LossTests(RulesTestCase):
    def test_sack(self) -> None:
        """
        Every SACK edge that the back-end's TCP gets is one of its own numbers.
        """
        self.lab.offload(False, checksums=False)
        self.addCleanup(self.lab.offload, True)
        self.lab.loss(2)
        self.addCleanup(self.lab.loss, 0)
        for family in _FAMILIES:
            self.check_sack(family)

    def check_sack(self, family: int) -> None:
        wrong = ("TCPSACKDiscard", "PAWSEstab")
        before = self.tcp_counters("b", *wrong, "TCPSackRecovery")
        with recording(self.lab, [("b", TAP)], f"tcp port {ORIGIN_PORT}", _HEADERS_ONLY) as tape:
            self.download(family, "a", "b")
        after = self.tcp_counters("b", *wrong, "TCPSackRecovery")
        self.assertEqual([after[name] - before[name] for name in wrong], [0, 0])
        self.assertGreater(after["TCPSackRecovery"], before["TCPSackRecovery"])
        packets = tape.at("b", TAP)
        isn = next(each.seq for each in packets if each.flags == "SA")
        sent, edges = 0, 0
        for each in packets:
            if each.source[1] == ORIGIN_PORT:
                sent = max(sent, (each.seq + each.length - isn) % MODULUS)
            for edge in each.edges:
                self.assertTrue(0 < (edge - isn) % MODULUS <= sent, str(each))
                edges += 1
        self.assertGreater(edges, 100)


class WindowTests(RulesTestCase):
    def test_window_scale(self) -> None:
        """
        Whatever the back-end's own window scale, its windows mean the same to the client.
        """
        self.set("b", "net.ipv4.tcp_rmem", "4096 131072 33554432")
        self.check_scale(10)
        self.set("b", "net.ipv4.tcp_rmem", "4096 131072 1073741824")
        self.check_scale(14)
        # A route with a largest window makes the scale small.
        self.limit("window", "200000")
        self.addCleanup(self.limit)
        self.check_scale(2)

    def limit(self, *limit: str) -> None:
        """
        Change node b's routes to the client.
        """
        for index, option in enumerate(("-4", "-6")):
            gateway = self.lab.address(ROUTER, _FAMILIES[index])
            route = ["ip", option, "route", "change", "default", "via", gateway, *limit]
            self.assertEqual(self.lab.exec("b", route).returncode, 0, route)

    def check_scale(self, scale: int) -> None:
        for family in _FAMILIES:
            self.assertEqual(self.check_windows(family), scale)

    def check_windows(self, family: int) -> int:
        """
        @return: the back-end's window scale.
        """
        stored = Path(self.lab.home("b")) / "uploads/b/upload/large"
        large = self.lab.content("/b/10m") + self.lab.content("/a/10m")
        target = url("a", family, "/b/upload/large")
        places = [(CLIENT, "eth0"), ("b", TAP)]
        answers = f"tcp src port {LISTEN_PORT} or tcp src port {ORIGIN_PORT}"
        with recording(self.lab, places, answers, _HEADERS_ONLY) as tape:
            done = self.lab.exec(
                CLIENT, ["curl", "-sS", "-m", "30", "-T", "-", target], stdin=large
            )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(stored.read_bytes() == large)
        at_back = self.lab.address("b", family), ORIGIN_PORT
        real = [each for each in tape.at("b", TAP) if each.source == at_back]
        at_front = self.lab.address("a", family), LISTEN_PORT
        shown = [each for each in tape.at(CLIENT) if each.source == at_front]
        promised, own = (each[0].options["WScale"] for each in (shown, real))
        self.assertEqual(promised, 7)
        # By what it acknowledges, each packet is found again at the client.
        windows = {each.ack: 0 for each in real}
        for each in real[1:]:
            windows[each.ack] = max(windows[each.ack], each.window << own)
        for each in shown[1:]:
            if each.ack in windows:
                self.assertLessEqual(each.window << promised, windows[each.ack], str(each))
        self.check_edge(shown[1:], promised)
        return int(own)

    def check_edge(self, shown: list[Seen], scale: int) -> None:
        """
        What was promised is not taken back, but for what rounding costs (RFC 7323, 2.4).
        """
        start, furthest = shown[0].ack, 0
        for each in shown:
            edge = (each.ack - start) % MODULUS + (each.window << scale)
            self.assertGreater(edge + (1 << scale), furthest, str(each))
            furthest = max(furthest, edge)


class TimestampTests(RulesTestCase):
    def test_one_node_without(self) -> None:
        """
        What one node's TCP does not do, no front-end promises.
        """
        self.lab.stop_daemon("c")
        self.set("c", "net.ipv4.tcp_timestamps", "0")
        self.addCleanup(self.restart, "c")
        self.lab.start_daemon("c")
        for family in _FAMILIES:
            self.check_none(family)

    def restart(self, node: str) -> None:
        self.set(node, "net.ipv4.tcp_timestamps", "1")
        self.lab.stop_daemon(node)
        self.lab.start_daemon(node)

    def check_none(self, family: int) -> None:
        with recording(self.lab, [(CLIENT, "eth0")], "tcp", _HEADERS_ONLY) as tape:
            for front, back in (("a", "c"), ("c", "a"), ("a", "b")):
                self.download(family, front, back)
        answers = [each for each in tape.at(CLIENT) if each.flags == "SA"]
        self.assertEqual(len(answers), 3)
        for each in answers:
            self.assertNotIn("Timestamp", each.options)
            self.assertIn("SAckOK", each.options)


class PathTests(RulesTestCase):
    def test_path_mtu(self) -> None:
        """
        A router's "too big" comes to the front-end and is heard by the back-end's TCP.
        """
        self.mtu(1300)
        self.addCleanup(self.forget)
        self.addCleanup(self.mtu, 1500)
        for family in _FAMILIES:
            self.check_path(family)

    def mtu(self, octets: int) -> None:
        link = ["ip", "link", "set", "dev", CLIENT, "mtu", str(octets)]
        self.assertEqual(self.lab.exec(ROUTER, link).returncode, 0)

    def forget(self) -> None:
        for family in ("-4", "-6"):
            self.lab.exec("b", ["ip", family, "route", "flush", "cache"])

    def check_path(self, family: int) -> None:
        translated = self.counter("a", "icmp.forwarded")
        with recording(self.lab, [(CLIENT, "eth0")], "tcp", _HEADERS_ONLY) as tape:
            self.download(family, "a", "b")
        self.assertGreater(self.counter("a", "icmp.forwarded"), translated)
        known = self.lab.exec("b", ["ip", "route", "get", self.lab.address(CLIENT, family)])
        self.assertIn(b"mtu 1300", known.stdout)
        # IP, TCP and timestamps; the captured may be several packets in one.
        most = 1300 - (20 if family == 4 else 40) - 32
        last = tape.at(CLIENT)[-10:]
        sizes = [each.length for each in last if each.source[1] == LISTEN_PORT]
        self.assertTrue(all(not size % most or size < 10 << 20 for size in sizes))


@cache
def _odd_origins() -> list[subprocess.Popen[bytes]]:
    """
    Start them on all nodes.

    @return: what goes down with the lab.
    """
    lab, processes = _STAGE.lab(), []
    for node in lab.nodes:
        addresses = [lab.address(node, family) for family in _FAMILIES]
        argv = [sys.executable, odd_origin.__file__, *addresses, str(_ODD_ORIGIN)]
        process = lab.popen(node, argv)
        assert process.stdout is not None
        assert process.stdout.readline() == odd_origin.READY
        processes.append(process)
    return processes


class ClosingTests(RulesTestCase):
    def setUp(self) -> None:
        super().setUp()
        _odd_origins()
        self.assertEqual(emptied(self.lab), dict.fromkeys(self.lab.nodes, _NOTHING))

    def each_way(self) -> Iterator[tuple[int, str, str]]:
        """
        Family, front-end, back-end.
        """
        return ((family, *pair) for family in _FAMILIES for pair in _PAIRS)

    def test_half_close(self) -> None:
        """
        The end of what the client says is not the end of the response.
        """
        for family, front, back in self.each_way():
            with dial(self.lab, family, front, _ODD_PORT) as connection:
                connection.sendall(request(f"/{back}/after-eof"))
                time.sleep(0.05)  # the handoff: the FIN is to pass on its own
                connection.shutdown(socket.SHUT_WR)
                self.assertTrue(answer(connection)[1] == odd_origin.body())
        self.assertEqual(emptied(self.lab), dict.fromkeys(self.lab.nodes, _NOTHING))

    def test_half_close_with_the_request(self) -> None:
        """
        As above; the FIN comes with the request.
        """
        for family, front, back in self.each_way():
            with dial(self.lab, family, front, _ODD_PORT) as connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
                connection.sendall(request(f"/{back}/after-eof"))
                connection.shutdown(socket.SHUT_WR)
                self.assertTrue(answer(connection)[1] == odd_origin.body())

    def test_reset_by_client(self) -> None:
        """
        Both nodes forget the connection at once, and so does the origin.
        """
        for family, front, back in self.each_way():
            connection = dial(self.lab, family, front)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            port = end(connection)[1]
            connection.sendall(request(f"/{back}/10m"))
            with connection.makefile("rb") as stream:
                stream.read(1 << 20)
            self.assertIn(f":{port}", sockets(self.lab, back))
            connection.close()
            self.await_forgotten(front, back, port)

    def await_forgotten(self, front: str, back: str, port: int) -> None:
        def forgotten() -> bool:
            left = [counts(self.lab, node) for node in (front, back)]
            return left == [_NOTHING] * 2 and f":{port}" not in sockets(self.lab, back)

        self.await_that(forgotten, _SOON)

    def test_reset_by_origin(self) -> None:
        """
        The client hears of it at once, after all that was sent before.
        """
        for family, front, back in self.each_way():
            with dial(self.lab, family, front, _ODD_PORT) as connection:
                connection.sendall(request(f"/{back}/reset"))
                received = b""
                began = time.monotonic()
                with self.assertRaises(ConnectionResetError):
                    while True:
                        received += connection.recv(65536)
                self.assertLess(time.monotonic() - began, _SOON)
                body = received.partition(b"\r\n\r\n")[2]
                self.assertEqual(len(body), odd_origin.PART)
                self.await_forgotten(front, back, end(connection)[1])


class KeepAliveTests(RulesTestCase):
    def test_many_requests(self) -> None:
        """
        Downloads and uploads, in turn, on one connection.
        """
        for family in _FAMILIES:
            with dial(self.lab, family, "a") as connection:
                for number in range(60):
                    self.exchange(connection, number)
            self.assertEqual(emptied(self.lab), dict.fromkeys(self.lab.nodes, _NOTHING))

    def exchange(self, connection: socket.socket, number: int) -> None:
        name = ("1k", "100k")[number % 2]
        content = self.lab.content(f"/b/{name}")
        if number % 3:
            connection.sendall(request(f"/b/{name}"))
            self.assertTrue(answer(connection)[1] == content)
        else:
            head = request("/b/upload/x", f"Content-Length: {len(content)}", method="POST")
            connection.sendall(head + content)
            self.assertEqual(answer(connection)[1], b"%d\n" % len(content))

    def test_expect(self) -> None:
        """
        The client waits for the back-end's C{100 Continue} before it sends the body.
        """
        body = self.lab.state / "content/b/10m"
        for family in _FAMILIES:
            target = url("a", family, "/b/upload/x")
            said = self.curl("-H", "Expect: 100-continue", "--data-binary", f"@{body}", target)
            self.assertEqual(said, b"%d\n" % body.stat().st_size)


class PortTests(RulesTestCase):
    def source(self, family: int, port: int) -> End:
        return self.lab.address(CLIENT, family), port

    def test_time_wait(self) -> None:
        """
        A client's port comes back while the back-end's TCP has it in TIME-WAIT, by the same
        front-end and by another.
        """
        for family in _FAMILIES:
            source = self.source(family, 20000 + family)
            for number in range(12):
                front = ("a", "a", "c", "b")[number % 4]
                self.once(family, front, source)
                lines = sockets(self.lab, "b").splitlines()
                waiting = [line for line in lines if line.split()[4].endswith(f":{source[1]}")]
                self.assertEqual([line.split()[0] for line in waiting], ["TIME-WAIT"], front)
            self.assertEqual(emptied(self.lab), dict.fromkeys(self.lab.nodes, _NOTHING))

    def once(self, family: int, front: str, source: End) -> None:
        """
        The server closes first: HTTP/1.0.
        """
        with dial(self.lab, family, front, source=source) as connection:
            connection.sendall(request("/b/100k", version="1.0"))
            response, body = answer(connection)
            self.assertEqual((response.status, response.headers["X-Node"]), (200, "b"))
            self.assertTrue(body == self.lab.content("/b/100k"))
            self.assertEqual(connection.recv(1), b"")

    def test_one_port_to_two_front_ends(self) -> None:
        """
        Connections that differ by their front-end only cannot be on one back-end: the second is
        refused there, and another replica answers.
        """
        before = self.refusals()
        for family in _FAMILIES:
            for number in range(6):
                self.check_meeting(family, 21000 + 10 * family + number)
        self.assertGreater(self.refusals(), before)

    def refusals(self) -> int:
        return sum(self.counter(node, "handoff.refused.tuple-in-use") for node in self.lab.nodes)

    def check_meeting(self, family: int, port: int) -> None:
        with ExitStack() as stack:
            nodes = []
            open_connections = [
                stack.enter_context(dial(self.lab, family, front, source=self.source(family, port)))
                for front in self.lab.nodes
            ]
            for _ in range(2):
                for connection in open_connections:
                    connection.sendall(request(f"/{SHARED}/100k"))
                for connection in open_connections:
                    response, body = answer(connection)
                    nodes.append(response.headers["X-Node"])
                    self.assertTrue(body == self.lab.content(f"/{SHARED}/100k"))
        first, second = nodes[:3], nodes[3:]
        self.assertEqual(sorted(first), list(self.lab.nodes))
        self.assertEqual(first, second)

    def test_nowhere_else(self) -> None:
        """
        As above, but no other node has it.
        """
        for family in _FAMILIES:
            source = self.source(family, 22000 + family)
            with dial(self.lab, family, "a", source=source) as first:
                first.sendall(request("/b/1k"))
                self.assertEqual(answer(first)[0].status, 200)
                with dial(self.lab, family, "c", source=source) as second:
                    second.sendall(request("/b/1k"))
                    self.assertEqual(answer(second)[0].status, 503)
                first.sendall(request("/b/1k"))
                self.assertEqual(answer(first)[1], self.lab.content("/b/1k"))


class SegmentTests(RulesTestCase):
    """
    However a request is cut and sent, the answer is the one that the origin gives itself.
    """

    def setUp(self) -> None:
        super().setUp()
        handmade.guard(self.lab)

    def check(self, cut: Callable[[bytes, int], list[tuple[int, bytes]]], size: int) -> None:
        self.check_request(request("/b/1k", f"X: {'x' * 400}", "Connection: close"), cut, size)

    def check_request(
        self, head: bytes, cut: Callable[[bytes, int], list[tuple[int, bytes]]], size: int
    ) -> None:
        for family in _FAMILIES:
            direct = self.direct(family, head)
            self.assertIn(b"X-Node: b", direct)
            for front, _ in _PAIRS:
                client = handmade.Client(self.lab, family, front)
                self.addCleanup(client.close)
                self.assertEqual(_plain(client.ask(cut(head, size))), direct)

    def direct(self, family: int, head: bytes) -> bytes:
        with dial(self.lab, family, "b", ORIGIN_PORT) as connection:
            connection.sendall(head)
            with connection.makefile("rb") as stream:
                return _plain(stream.read())

    def long(self) -> bytes:
        """
        A request with 15 kB of header.
        """
        return request("/b/1k", f"X: {'x' * 15000}", "Connection: close")

    def test_an_octet_each(self) -> None:
        self.check(handmade.segments, 1)

    def test_reversed(self) -> None:
        self.check(handmade.reversed_segments, 16)

    def test_each_twice(self) -> None:
        self.check(handmade.doubled, 16)

    def test_overlapping(self) -> None:
        self.check(handmade.overlapping, 40)

    def test_long_header(self) -> None:
        self.check_request(self.long(), handmade.segments, 1400)

    def test_long_header_reversed(self) -> None:
        self.check_request(self.long(), handmade.reversed_segments, 1400)

    def test_long_header_each_twice(self) -> None:
        self.check_request(self.long(), handmade.doubled, 1400)

    def test_no_delay(self) -> None:
        """
        An octet a segment, from a real TCP.
        """
        head = request("/b/1k", "Connection: close")
        for family in _FAMILIES:
            with recording(self.lab, [("a", "eth0")], "tcp dst port 80", _HEADERS_ONLY) as tape:
                with dial(self.lab, family, "a") as connection:
                    client = end(connection)
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    for octet in head:
                        connection.sendall(bytes([octet]))
                        time.sleep(0.002)
                    with connection.makefile("rb") as stream:
                        said = _plain(stream.read())
            self.assertEqual(said, self.direct(family, head))
            arrived = between(tape.at("a"), client, (self.lab.address("a", family), LISTEN_PORT))
            self.assertGreater(sum(each.length == 1 for each in arrived), len(head) // 2)


def _plain(response: bytes) -> bytes:
    """
    @return: the response without what differs from one moment to the next.
    """
    return re.sub(rb"(?m)^Date: .*\r\n", b"", response)
