# SPDX-License-Identifier: MIT
"""
The rules of TCP that must hold, on the wire, each over IPv4 and IPv6.
"""

from __future__ import annotations

import re
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path

from btcp.lab.topology import CLIENT, LISTEN_PORT, ORIGIN_PORT, ROUTER, SHARED, url
from tests.claims.mirror import below_tcp
from tests.claims.packets import HEADERS, MODULUS, Seen
from tests.claims.scene import end, sockets
from tests.claims.stage import PATIENCE, End, answer, dial, request
from tests.claims.tape import recording
from tests.integration.rules import FAMILIES, RulesTestCase
from tests.modes import in_every_mode

_PROMISED = 7
"""The window scale in every SYN/ACK, see C{window-scale} in docs/configuration.md."""

_TOO_BIG = "(icmp[0] == 3 and icmp[1] == 4) or (icmp6 and ip6[40] == 2)"


@in_every_mode
class LossTests(RulesTestCase):
    def test_sack(self) -> None:
        """
        Every SACK edge that the back-end's TCP gets is one of its own numbers.
        """
        self.lab.offload(False, checksums=False)
        self.addCleanup(self.lab.offload, True)
        self.lab.loss(2)
        self.addCleanup(self.lab.loss, 0)
        for family in FAMILIES:
            self.check_sack(family)

    def check_sack(self, family: int) -> None:
        wrong, place = ["TCPSACKDiscard"], ("b", below_tcp(self.mode))
        wrong += ["PAWSEstab"] * (not self.mode.overtakes)
        before = self.tcp_counters("b", *wrong, "TCPSackRecovery")
        with recording(self.lab, [place], f"tcp port {ORIGIN_PORT}", HEADERS) as tape:
            self.download(family, "a", "b", 4 << 20)
        after = self.tcp_counters("b", *wrong, "TCPSackRecovery")
        moved = {name: after[name] - before[name] for name in wrong}
        self.assertEqual(moved, dict.fromkeys(wrong, 0))
        self.assertGreater(after["TCPSackRecovery"], before["TCPSackRecovery"])
        packets = tape.at(*place)
        first = next(each for each in packets if each.source[1] == ORIGIN_PORT)
        isn = first.seq if "S" in first.flags else (first.seq - 1) % MODULUS
        sent, edges = 0, 0
        for each in packets:
            if each.source[1] == ORIGIN_PORT:
                sent = max(sent, (each.seq + each.length - isn) % MODULUS)
            for edge in each.edges:
                self.assertTrue(0 < (edge - isn) % MODULUS <= sent, str(each))
                edges += 1
        self.assertGreater(edges, 20)


@in_every_mode
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
            gateway = self.lab.address(ROUTER, FAMILIES[index])
            route = ["ip", option, "route", "change", "default", "via", gateway, *limit]
            self.assertEqual(self.lab.exec("b", route).returncode, 0, route)

    def check_scale(self, scale: int) -> None:
        # Without a handshake of its own it takes over what was promised.
        own = _PROMISED if self.mode.by_cookie else scale
        for family in FAMILIES:
            self.assertEqual(self.own_scale(family), own)
            self.check_windows(family, own)

    def own_scale(self, family: int) -> int:
        """
        @return: the back-end's window scale, as its kernel says.
        """
        with dial(self.lab, family, "a") as connection:
            connection.sendall(request("/b/1k"))
            self.assertEqual(answer(connection)[0].status, 200)
            port = end(connection)[1]
            shown = self.lab.exec("b", ["ss", "-Htin", f"dport = :{port}"]).stdout.decode()
        (scales,) = re.findall(r" wscale:\d+,(\d+) ", shown)
        return int(scales)

    def check_windows(self, family: int, own: int) -> None:
        stored = Path(self.lab.home("b")) / "uploads/b/upload/large"
        large = self.lab.content("/b/10m")
        target = url("a", family, "/b/upload/large")
        device = below_tcp(self.mode)
        places = [(CLIENT, "eth0"), ("b", device)]
        answers = f"tcp src port {LISTEN_PORT} or tcp src port {ORIGIN_PORT}"
        with recording(self.lab, places, answers, HEADERS) as tape:
            done = self.lab.exec(
                CLIENT, ["curl", "-sS", "-m", "30", "-T", "-", target], stdin=large
            )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(stored.read_bytes() == large)
        at_back = self.lab.address("b", family), ORIGIN_PORT
        real = [each for each in tape.at("b", device) if each.source == at_back]
        at_front = self.lab.address("a", family), LISTEN_PORT
        shown = [each for each in tape.at(CLIENT) if each.source == at_front]
        promised = shown[0].options["WScale"]
        self.assertEqual(promised, _PROMISED)
        # By what it acknowledges, each packet is found again at the client.
        windows: dict[int, int] = {}
        for each in real:
            if "S" not in each.flags:
                windows[each.ack] = max(windows.get(each.ack, 0), each.window << own)
        found = [each for each in shown[1:] if each.ack in windows]
        self.assertGreater(2 * len(found), len(shown))
        for each in found:
            self.assertLessEqual(each.window << promised, windows[each.ack], str(each))
        self.check_edge(shown[1:], promised)

    def check_edge(self, shown: list[Seen], scale: int) -> None:
        """
        What was promised is not taken back, but for what rounding costs (RFC 7323, 2.4).
        """
        start, furthest = shown[0].ack, 0
        if self.mode.overtakes:
            shown = sorted(shown, key=lambda each: ((each.ack - start) % MODULUS, each.window))
        for each in shown:
            edge = (each.ack - start) % MODULUS + (each.window << scale)
            self.assertGreater(edge + (1 << scale), furthest, str(each))
            furthest = max(furthest, edge)


@in_every_mode
class TimestampTests(RulesTestCase):
    def test_one_node_without(self) -> None:
        """
        What one node's TCP does not do, no front-end promises.
        """
        self.lab.stop_daemon("c")
        self.set("c", "net.ipv4.tcp_timestamps", "0")
        self.addCleanup(self.restart, "c")
        self.lab.start_daemon("c")
        for family in FAMILIES:
            self.check_none(family)

    def restart(self, node: str) -> None:
        self.set(node, "net.ipv4.tcp_timestamps", "1")
        self.lab.stop_daemon(node)
        self.lab.start_daemon(node)

    def check_none(self, family: int) -> None:
        with recording(self.lab, [(CLIENT, "eth0")], "tcp", HEADERS) as tape:
            for front, back in (("a", "c"), ("c", "a"), ("a", "b")):
                self.download(family, front, back)
        answers = [each for each in tape.at(CLIENT) if each.flags == "SA"]
        self.assertEqual(len(answers), 3)
        for each in answers:
            self.assertNotIn("Timestamp", each.options)
            self.assertIn("SAckOK", each.options)


@in_every_mode
class PathTests(RulesTestCase):
    def test_path_mtu(self) -> None:
        """
        A router's "too big" comes to the front-end and is heard by the back-end's TCP.
        """
        self.mtu(1300)
        self.addCleanup(self.forget)
        self.addCleanup(self.mtu, 1500)
        for family in FAMILIES:
            self.check_path(family)

    def mtu(self, octets: int) -> None:
        link = ["ip", "link", "set", "dev", CLIENT, "mtu", str(octets)]
        self.assertEqual(self.lab.exec(ROUTER, link).returncode, 0)

    def forget(self) -> None:
        for family in ("-4", "-6"):
            self.lab.exec("b", ["ip", family, "route", "flush", "cache"])

    def check_path(self, family: int) -> None:
        with self.lab.capture("b", _TOO_BIG) as capture:
            self.download(family, "a", "b")
        shown = subprocess.run(["tcpdump", "-nr", str(capture)], capture_output=True, check=True)
        # It was told of its first packets, and then it knew.
        told = shown.stdout.count(b"\n")
        self.assertTrue(0 < told <= 20, shown.stdout)
        known = self.lab.exec("b", ["ip", "route", "get", self.lab.address(CLIENT, family)])
        self.assertIn(b"mtu 1300", known.stdout)


@in_every_mode
class KeepAliveTests(RulesTestCase):
    def test_many_requests(self) -> None:
        """
        Downloads and uploads, in turn, on one connection.
        """
        for family in FAMILIES:
            with dial(self.lab, family, "a") as connection:
                for number in range(60):
                    self.exchange(connection, number)
            self.assert_empty()

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
        for family in FAMILIES:
            target = url("a", family, "/b/upload/x")
            said = self.curl("-H", "Expect: 100-continue", "--data-binary", f"@{body}", target)
            self.assertEqual(said, b"%d\n" % body.stat().st_size)


@in_every_mode
class PortTests(RulesTestCase):
    def source(self, family: int, port: int) -> End:
        return self.lab.address(CLIENT, family), port

    def test_time_wait(self) -> None:
        """
        A client's port comes back while the back-end's TCP has it in TIME-WAIT, by the same
        front-end and by another.
        """
        for family in FAMILIES:
            source, waited = self.source(family, 20000 + family), 0
            for number in range(12):
                front = ("a", "a", "c", "b")[number % 4]
                self.once(family, front, source)
                waited += self.await_time_wait(source[1])
            # A client's reset, which may come after all, ends it; see claim 13.
            self.assertGreaterEqual(waited, 6 if self.mode.overtakes else 12)
            self.assert_empty()

    def await_time_wait(self, port: int) -> bool:
        """
        @return: whether the connection is in TIME-WAIT at last, and not forgotten.
        """
        self.await_that(lambda: self.state(port) in (["TIME-WAIT"], []), PATIENCE)
        return bool(self.state(port))

    def state(self, port: int) -> list[str]:
        """
        Of the client's connections from this port, as node b's TCP has them.
        """
        lines = [line.split() for line in sockets(self.lab, "b").splitlines()]
        return [words[0] for words in lines if words[4].endswith(f":{port}")]

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
        for family in FAMILIES:
            for number in range(6):
                # Front-ends begin their turns apart, and stay so unless one gets ahead.
                ahead = self.source(family, 22000 + 10 * family + number)
                with dial(self.lab, family, self.lab.nodes[0], source=ahead) as connection:
                    connection.sendall(request(f"/{SHARED}/100k"))
                    answer(connection)
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
        for family in FAMILIES:
            source = self.source(family, 22000 + family)
            with dial(self.lab, family, "a", source=source) as first:
                first.sendall(request("/b/1k"))
                self.assertEqual(answer(first)[0].status, 200)
                with dial(self.lab, family, "c", source=source) as second:
                    second.sendall(request("/b/1k"))
                    self.assertEqual(answer(second)[0].status, 503)
                first.sendall(request("/b/1k"))
                self.assertEqual(answer(first)[1], self.lab.content("/b/1k"))
