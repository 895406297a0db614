# SPDX-License-Identifier: MIT
"""
Whatever is thrown at a listener or at a control port: counters move, and nothing else.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from attrs import frozen
from scapy.layers.inet import IP, TCP
from scapy.utils import rdpcap

import btcp
from btcp.lab.topology import CLIENT, ROUTER, url
from tests.integration import hostile_boxes, hostile_frames
from tests.integration.standing import DOWNLOADER, RESETS, ClusterTestCase, python
from tests.modes import in_all_modes

_HALF_OPEN = 1000
_REQUEST = 1.0
_LARGEST_HEAD = 4096

_CONFIG: Mapping[str, object] = {
    "limits": {"half-open": _HALF_OPEN, "request": _LARGEST_HEAD},
    "timeouts": {
        "handshake": 1.0,
        "request": _REQUEST,
        "established": 3.0,
        "half-closed": 2.0,
        "linger": 1.0,
    },
    "control": {"insecure": True, "heartbeat": 0.5},
}

_EMPTY = 6.0
"""Seconds after which the longest timeout of a flow nobody uses is over."""

_FRAME_COUNTERS = (
    "dropped.bad-checksum",
    "dropped.truncated",
    "dropped.bad-tcp-header",
    "dropped.fragment",
    "dropped.not-too-big",
    "dropped.stray-rst",
    "reset.no-such-flow",
    "accept.bad-handshake-ack",
    "accept.handshake-timeout",
    "icmp.forwarded",
)
_MOST_GROWTH = 16 << 20
_SEED = 7831731
_CODE = Path(btcp.__file__).parents[1]

# Requests until its standard input ends; prints how many, and what went wrong.
_CUSTOMER = """
import http.client, select, sys
fronts, paths = sys.argv[1].split(","), sys.argv[2].split(",")
count, bad = 0, []
while not select.select([sys.stdin], [], [], 0)[0]:
    front, path = fronts[count % len(fronts)], paths[count % len(paths)]
    count += 1
    try:
        connection = http.client.HTTPConnection(front, 80, timeout=5)
        connection.request("GET", path)
        answer = connection.getresponse()
        if (answer.status, len(answer.read())) != (200, 1024):
            bad.append(f"{front}{path}: {answer.status}")
        connection.close()
    except OSError as problem:
        bad.append(f"{front}{path}: {problem!r}")
print(count, *bad, sep="\\n")
"""

# Two requests on one connection, with a silence between them; prints the statuses.
_IDLER = """
import http.client, sys, time
connection = http.client.HTTPConnection(sys.argv[1], 80, 10, ("", int(sys.argv[2])))
for _ in range(2):
    connection.request("GET", "/b/1k")
    answer = connection.getresponse()
    print(answer.status, len(answer.read()), flush=True)
    time.sleep(float(sys.argv[3]))
"""

# Sends what it is told to, each piece after a pause, and reads to the end.
_TALKER = """
import json, socket, sys, time
address, pieces = sys.argv[1], json.load(sys.stdin)
connection = socket.create_connection((address, 80), 5)
answer, end = b"", "closed"
try:
    for piece in pieces:
        connection.sendall(piece.encode("latin-1"))
        time.sleep(0.02)
    while octets := connection.recv(65536):
        answer += octets
except OSError as problem:
    end = type(problem).__name__
print(json.dumps([answer.decode("latin-1"), end]))
"""


class HostileTestCase(ClusterTestCase):
    config: ClassVar[Mapping[str, object]] = _CONFIG

    def setUp(self) -> None:
        super().setUp()
        self._memory = {node: self.memory(node) for node in self.lab.nodes}

    def customer(self, fronts: str, holders: str) -> subprocess.Popen[bytes]:
        """
        Somebody who makes proper requests, one after another, until L{assert_served}.
        """
        addresses = ",".join(self.lab.address(front, f) for front in fronts for f in (4, 6))
        paths = ",".join(f"/{holder}/1k" for holder in holders)
        program = python(_CUSTOMER, addresses, paths)
        process = self.lab.popen(CLIENT, program, stdin=subprocess.PIPE)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def assert_served(self, customer: subprocess.Popen[bytes], least: int) -> None:
        count, *bad = customer.communicate(b"enough\n", timeout=20)[0].decode().splitlines()
        self.assertEqual(bad, [])
        self.assertGreater(int(count), least)

    def throw(self, module: str, host: str, *arguments: object, timeout: float = 60) -> str:
        """
        Have one of the programs throw from a host.

        @return: what it printed.
        """
        environment = ["env", f"PYTHONPATH={_CODE}"]
        command = [*environment, sys.executable, module, *map(str, arguments)]
        done = self.lab.exec(host, command, timeout=timeout)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        return done.stdout.decode()

    def mac(self, node: str) -> str:
        shown = self.lab.exec(node, ["ip", "-j", "link", "show", "eth0"]).stdout
        address: str = json.loads(shown)[0]["address"]
        return address

    def assert_unharmed(self) -> None:
        """
        All daemons are as they were but for their counters.
        """
        self.assert_sound()
        self.assert_tables_empty(_EMPTY)
        growth = {node: self.memory(node) - before for node, before in self._memory.items()}
        self.assertLess(max(growth.values()), _MOST_GROWTH, growth)


@in_all_modes
class FrameTests(HostileTestCase):
    def test_frames_of_all_kinds(self) -> None:
        """
        Thousands of them, while customers are served and two connections that the frames
        pretend to belong to go on: a download, and one that is idle.
        """
        customer = self.customer("abc", "abc")
        address = self.lab.address("a", 4)
        download = self.lab.popen(CLIENT, python(DOWNLOADER, address, "/b/10m", 31000))
        idler = self.lab.popen(CLIENT, python(_IDLER, self.lab.address("a", 6), 31001, 2.5))
        ends = [self.lab.address(CLIENT, 4), self.lab.address(CLIENT, 6), 31000, 31001]
        mac, arrived = self.mac("a"), self.arrived("a")
        self.throw(hostile_frames.__file__, ROUTER, "frames", "a", mac, _SEED, 15000, 3000, *ends)
        self.assertGreater(self.arrived("a") - arrived, 15000)
        self.assertEqual(download.communicate(timeout=20)[0], self.lab.content("/b/10m"))
        self.assertEqual(idler.communicate(timeout=10)[0], b"200 1024\n200 1024\n")
        self.assert_served(customer, 100)
        self.assert_unharmed()  # and the last handshake has been given up
        if not self.mode.in_kernel:  # whose programs drop some before they are counted
            moved = self.moved("a")
            for counter in _FRAME_COUNTERS:
                self.assertGreater(moved[counter], 0, (counter, moved))

    def arrived(self, node: str) -> int:
        """
        Frames at the node's device, ever.
        """
        shown = self.lab.exec(node, ["ip", "-s", "-j", "link", "show", "eth0"]).stdout
        return int(json.loads(shown)[0]["stats64"]["rx"]["packets"])

    def test_flood_of_syns(self) -> None:
        """
        The table of half-open connections is bounded, and free again when the handshake's
        time is over.
        """
        self.throw(hostile_frames.__file__, ROUTER, "syns", "a", self.mac("a"), 10 * _HALF_OPEN)
        fronts = self.flows()["a"]["front"]
        self.assertLessEqual(fronts, _HALF_OPEN)
        self.assertGreater(self.moved("a")["dropped.half-open-table-full"], 0)
        # SYNs with options as every client has them need no room where the kernel answers them.
        if not self.mode.in_kernel:
            time.sleep(1.5)
        customer = self.customer("a", "abc")
        time.sleep(0.5)
        self.assert_served(customer, 10)
        self.assert_unharmed()

    def test_blind_reset_of_idle_connection(self) -> None:
        """
        RFC 5961: a RST whose number is not the one expected ends nothing, also if the
        connection says nothing for a long while after it.
        """
        with self.lab.capture(CLIENT, "tcp src port 31002") as capture:
            idler = self.lab.popen(CLIENT, python(_IDLER, self.lab.address("a", 4), 31002, 2.8))
            assert idler.stdout is not None
            self.assertEqual(idler.stdout.readline(), b"200 1024\n")
        last = rdpcap(str(capture))[-1]
        size = last[IP].len - 4 * (last[IP].ihl + last[TCP].dataofs)
        ends = [self.lab.address(CLIENT, 4), 31002, (last[TCP].seq + size) & 0xFFFFFFFF]
        self.throw(hostile_frames.__file__, CLIENT, "resets", *ends)
        self.assertEqual(idler.communicate(timeout=10)[0], b"200 1024\n")
        self.assert_unharmed()


class ControlTests(HostileTestCase):
    """
    The control channel knows of no datapath: one mode will do.
    """

    def test_strangers(self) -> None:
        """
        Who does not come from a node's address is not listened to.
        """
        customer = self.customer("abc", "abc")
        for host in (CLIENT, ROUTER):
            self.throw(hostile_boxes.__file__, host, "boxes", self.lab.address("a", 4), _SEED)
        self.assert_served(customer, 10)
        self.assertGreater(self.moved("a")["control.stranger"], 20)
        self.assert_unharmed()

    def test_nonsense_of_a_node(self) -> None:
        """
        On connections beside the links, which go on.
        """
        customer = self.customer("abc", "abc")
        for node in "ab":
            self.throw(hostile_boxes.__file__, "c", "boxes", self.lab.address(node, 4), _SEED)
        self.assert_served(customer, 10)
        for node in "ab":
            moved = self.moved(node)
            for counter in ("control.malformed", "control.refused-hello"):
                self.assertGreater(moved[counter], 0, (counter, moved))
            self.assertEqual(moved["control.replaced"], 0)
        self.assert_unharmed()

    def test_node_that_went_mad(self) -> None:
        """
        Well-formed messages about flows nobody knows, with values as odd as they can be, and
        boxes of well-formed nonsense, on the link of a node: each is answered, and the link
        goes on.
        """
        self.lab.stop_daemon("a")
        customer = self.customer("c", "bc")
        ends = [self.lab.address("a", 4), self.lab.address("b", 4)]
        told = json.loads(
            self.throw(hostile_boxes.__file__, "a", "peer", "a", *ends, _SEED, timeout=30)
        )
        self.assertEqual(told["unanswered"], 0, told)
        self.assertNotIn("link lost", told)
        self.assertNotIn("FAILED", told)
        for word in ("REFUSED", "MALFORMED", "UNHANDLED", "unknown"):
            self.assertGreater(told.get(word, 0), 0, told)
        self.assert_served(customer, 10)
        self.lab.start_daemon("a")
        done = self.lab.exec(CLIENT, ["curl", "-s", "-m", "5", url("a", 4, "/b/1k")])
        self.assertEqual(done.stdout, self.lab.content("/b/1k"))
        self._memory["a"] = self.memory("a")
        self.assert_unharmed()


@frozen
class Spoken:
    """
    @ivar text: all that was answered.
    @ivar end: how the connection ended.
    """

    text: str
    end: str

    @property
    def status(self) -> int:
        """
        Of the first response, 0 if there is none.
        """
        words = self.text.split(" ", 2)
        return int(words[1]) if words[0].startswith("HTTP/1.") else 0

    @property
    def body(self) -> str:
        """
        What follows the first head.
        """
        return self.text.partition("\r\n\r\n")[2]


_HOST = "Host: x\r\n"
_CLIENT_HELLO = "\x16\x03\x01\x00\xf4\x01\x00\x00\xf0\x03\x03" + "\x5a" * 237
_MALFORMED = {
    "garbage": "\x00\x01\x02\x03\xff\xfe" * 50,
    "TLS": _CLIENT_HELLO,
    "SSH": "SSH-2.0-OpenSSH_9.2\r\n",
    "HTTP/2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "version": f"GET / HTTP/3.7\r\n{_HOST}\r\n",
    "no version": "GET /a/1k\r\n\r\n",
    "no host": "GET /a/1k HTTP/1.1\r\n\r\n",
    "two hosts": f"GET /a/1k HTTP/1.1\r\n{_HOST}Host: y\r\n\r\n",
    "bare LF": "GET /a/1k HTTP/1.1\nHost: x\n\n",
    "bare CR": "GET /a/1k HTTP/1.1\r\nHost: x\rX: y\r\n\r\n",
    "folded": f"GET /a/1k HTTP/1.1\r\n{_HOST}X: a\r\n b\r\n\r\n",
    "blank before colon": f"GET /a/1k HTTP/1.1\r\n{_HOST}X : a\r\n\r\n",
    "NUL": f"GET /a/1k HTTP/1.1\r\n{_HOST}X: \x00\r\n\r\n",
    "two lengths": f"POST /a/1k HTTP/1.1\r\n{_HOST}Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "length and coding": f"POST /a/1k HTTP/1.1\r\n{_HOST}Content-Length: 5\r\n"
    "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /b/1k HTTP/1.1\r\nHost: x\r\n\r\n",
    "odd coding": f"POST /a/1k HTTP/1.1\r\n{_HOST}Transfer-Encoding: xchunked\r\n\r\n",
    "negative length": f"POST /a/1k HTTP/1.1\r\n{_HOST}Content-Length: -1\r\n\r\n",
    "other host": f"GET http://y/a/1k HTTP/1.1\r\n{_HOST}\r\n",
    "above the root": f"GET /a/../../b/1k HTTP/1.1\r\n{_HOST}\r\n",
    "escaped NUL": f"GET /a/%00 HTTP/1.1\r\n{_HOST}\r\n",
    "tunnel": "CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n",
}


@in_all_modes
class HttpTests(HostileTestCase):
    """
    What the front-end answers by itself; a client can read each answer, and sees no reset.
    """

    def say(self, *pieces: str, family: int = 4, front: str = "a") -> Spoken:
        program = python(_TALKER, self.lab.address(front, family))
        done = self.lab.exec(CLIENT, program, stdin=json.dumps(pieces).encode())
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        spoken = Spoken(*json.loads(done.stdout))
        self.assertEqual(spoken.end, "closed", spoken)
        return spoken

    def assert_told(self, spoken: Spoken, status: int, times: int = 1) -> None:
        """
        With a reason that the log knows as well.
        """
        self.assertEqual(spoken.status, status, spoken)
        self.assertIn("Connection: close\r\n", spoken.text)
        self.assertEqual(self.moved("a")[f"answered.{status}"], times)
        self.assertIn(spoken.body.strip().partition(": ")[2], self.logged("a"))

    def test_malformed(self) -> None:
        """
        Nonsense, and what another parser may read in another way.
        """
        with self.lab.capture(CLIENT, RESETS) as resets:
            for number, (what, text) in enumerate(_MALFORMED.items(), 1):
                spoken = self.say(text, family=4 if number % 2 else 6)
                self.assertEqual(spoken.status, 400, (what, spoken))
                self.assert_told(spoken, 400, number)
        read = subprocess.run(["tcpdump", "-nr", str(resets)], capture_output=True, check=True)
        self.assertEqual(read.stdout, b"")
        self.assertEqual(self.moved("a")["handoff.sent"] + self.moved("a")["handoff.local"], 0)

    def test_more_than_was_asked_for(self) -> None:
        """
        A client that goes on sending reads its answer all the same.
        """
        self.assert_told(self.say("nonsense\r\n\r\n", *["x" * 10000] * 20), 400)

    def test_slow(self) -> None:
        """
        A header octet by octet, for ever.
        """
        head = f"GET /a/1k HTTP/1.1\r\n{_HOST}X: {'x' * 100}"
        began = time.monotonic()
        self.assert_told(self.say(*head), 408)
        self.assertLess(time.monotonic() - began, _REQUEST + 3)

    def test_silent(self) -> None:
        """
        A connection that says nothing.  Where the kernel answers SYNs nobody knows of it.
        """
        if not self.mode.in_kernel:
            self.assert_told(self.say(), 408)
            return
        self.assert_tables_empty(_EMPTY)
        program = python(_TALKER, self.lab.address("a", 4))
        talker = self.lab.popen(CLIENT, program, stdin=subprocess.PIPE)
        assert talker.stdin is not None
        talker.stdin.write(b"[]")
        talker.stdin.close()
        self.await_that(lambda: b"ESTAB" in self.sockets(), 2, self.sockets)
        self.assertEqual(self.flows()["a"], {"front": 0, "back": 0})
        talker.kill()
        talker.wait()

    def sockets(self) -> bytes:
        """
        The client's connections.
        """
        return self.lab.exec(CLIENT, ["ss", "-Htn", "dport = :80"]).stdout

    def test_too_large(self) -> None:
        self.assert_told(self.say(f"GET /a/1k HTTP/1.1\r\n{_HOST}X: {'x' * _LARGEST_HEAD}"), 431)

    def test_nobody_holds_it(self) -> None:
        self.assert_told(self.say(f"GET /z HTTP/1.1\r\n{_HOST}\r\n"), 404)
        self.assertEqual(self.moved("a")["rejected.no-such-content"], 1)

    def test_head_has_no_body(self) -> None:
        spoken = self.say(f"HEAD /z HTTP/1.1\r\n{_HOST}\r\n")
        self.assertEqual((spoken.status, spoken.body), (404, ""))
        self.assertIn("Content-Length: ", spoken.text)

    def test_pipelined(self) -> None:
        """
        All go to the node of the first; a length that covers a request hides it.
        """
        get = "GET /b/index.html HTTP/1.1\r\nHost: x\r\n"
        spoken = self.say(f"{get}\r\n{get}\r\n{get}Connection: close\r\n\r\n")
        self.assertEqual(spoken.text.count("HTTP/1.1 200 OK\r\n"), 3)
        self.assertEqual(spoken.text.count("X-Node: b\r\n"), 3)
        other = "GET /a/index.html HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        spoken = self.say(f"{get}\r\n{other}")
        self.assertEqual(spoken.text.count("X-Node: b\r\n"), 2)
        self.assertEqual(spoken.text.count("HTTP/1.1 404 Not Found\r\n"), 1)

    def test_closed_before_request_is_complete(self) -> None:
        program = python(_HALF, self.lab.address("a", 4))
        done = self.lab.exec(CLIENT, program)
        self.assertTrue(done.stdout.startswith(b"HTTP/1.1 400 "), done)


_HALF = """
import socket, sys
connection = socket.create_connection((sys.argv[1], 80), 5)
connection.sendall(b"GET /a/1k HTTP/1.1\\r\\n")
connection.shutdown(socket.SHUT_WR)
while octets := connection.recv(65536):
    print(octets.decode(), end="")
"""
