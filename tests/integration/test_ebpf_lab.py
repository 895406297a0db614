# SPDX-License-Identifier: MIT
"""
Whole clusters whose kernels move the packets of spliced flows.
"""

from __future__ import annotations

import hashlib
import signal
import subprocess
from collections.abc import Mapping
from typing import ClassVar

from btcp.lab.topology import CLIENT, ROUTER, url
from tests.integration.standing import ClusterTestCase
from tests.modes import EBPF_COOKIE, EBPF_REPLAY, RAW_REPLAY, Mode, in_modes

_CONFIG: Mapping[str, object] = {}

_LINGER = 2.0  # the default
_SLACK = 3.0

# A router's word that a UDP packet from one address to another was too big.
_TOO_BIG = """
import socket, struct, sys
here, there = map(socket.inet_aton, sys.argv[1:])
quoted = struct.pack("!BBHHHBBH4s4sHHHH", 69, 0, 28, 1, 0x4000, 64, 17, 0, here, there, 7, 7, 8, 0)
message = struct.pack("!BBHHH", 3, 4, 0, 0, 1400) + quoted
summed = sum(struct.unpack(f"!{len(message) // 2}H", message))
message = message[:2] + struct.pack("!H", 0xFFFF - summed % 0xFFFF) + message[4:]
sending = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
sending.sendto(message, (sys.argv[1], 0))
"""

# Asks so often for the same on one connection, at leisure after the first time: by then the
# front-end has heard of the adoption.  Says which digests the answers had.
_KEPT = """
import hashlib, http.client, sys, time
front, path, count = sys.argv[1:]
connection, digests = http.client.HTTPConnection(front, 80, timeout=5), set()
for number in range(int(count)):
    connection.request("GET", path)
    digests.add(hashlib.sha256(connection.getresponse().read()).hexdigest())
    if number == 0:
        time.sleep(1)
print(*digests)
"""

# From each of so many ports, connects straight to an origin, and says nothing; then asks a
# front-end for something of the same node's, and says what came.
_SAME_PORT = """
import socket, sys
origin, front, path, count = sys.argv[1:]
def connection(to, port):
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.settimeout(5)
    made.bind(("", port))
    made.connect(to)
    return made
for port in range(40000, 40000 + int(count)):
    old, new = connection((origin, 8080), port), connection((front, 80), port)
    new.sendall(f"GET {path} HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n".encode())
    answer = b""
    while piece := new.recv(65536):
        answer += piece
    print(len(answer.partition(b"\\r\\n\\r\\n")[2]))
"""

_FILTERS = "btcp_ingress", "btcp_egress"


class EbpfTestCase(ClusterTestCase):
    prefix: ClassVar[str] = "ebpf"
    mode: ClassVar[Mode] = EBPF_REPLAY
    config: ClassVar[Mapping[str, object]] = _CONFIG

    def fetch(self, front: str, path: str, family: int = 4, *options: str) -> bytes:
        curl = ["curl", "-sS", "-m", "20", *options, url(front, family, path)]
        done = self.lab.exec(CLIENT, curl)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        return done.stdout

    def assert_fetched(self, front: str, path: str, family: int = 4) -> None:
        """
        Every octet is right.
        """
        body, right = self.fetch(front, path, family), self.lab.content(path)
        self.assertEqual(len(body), len(right))
        self.assertEqual(_digest(body), _digest(right))

    def filters(self, node: str) -> dict[str, str]:
        """
        What C{tc} says is attached to the node's device, by direction.
        """
        return {
            direction: self._said(node, "tc", "filter", "show", "dev", "eth0", direction)
            for direction in ("ingress", "egress")
        }

    def tables(self, node: str) -> str:
        return self._said(node, "nft", "list", "tables")

    def _said(self, node: str, *command: str) -> str:
        done = self.lab.exec(node, list(command))
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.decode()

    def queueing(self, node: str) -> str:
        """
        The queueing disciplines of the node's device.
        """
        return self._said(node, "tc", "qdisc", "show", "dev", "eth0")

    def assert_attached(self, node: str) -> None:
        """
        One program each way, and nothing of the raw datapath.
        """
        for name, shown in zip(_FILTERS, self.filters(node).values(), strict=True):
            self.assertEqual(shown.count(" name btcp_"), 1, shown)
            self.assertIn(f" name {name} ", shown)
        self.assertEqual(self.tables(node), "")

    def assert_detached(self, node: str) -> None:
        """
        Nothing is left, not even the hook.
        """
        self.assertEqual(self.filters(node), {"ingress": "", "egress": ""})
        self.assertNotIn("clsact", self.queueing(node))


def _digest(octets: bytes) -> str:
    return hashlib.sha256(octets).hexdigest()


@in_modes(EBPF_COOKIE)
class DownloadTests(EbpfTestCase):
    def test_every_way(self) -> None:
        """
        Over both versions of IP, through each front-end, from each node.
        """
        for family in (4, 6):
            for front in self.lab.nodes:
                for holder in self.lab.nodes:
                    self.assert_fetched(front, f"/{holder}/100k", family)
        self.assert_sound()

    def test_kernel_moves_the_packets(self) -> None:
        """
        Of a large answer nothing comes up but its beginning and its end, nor of what the
        client has to say to it.
        """
        for family in (4, 6):
            self._count(family)

    def _count(self, family: int) -> None:
        # The small answer first: however late a busy daemon installs the flow entry, it is there
        # before the large one.
        before = {node: self.counters(node) for node in "ab"}
        urls = [url("a", family, f"/b/{name}") for name in ("1k", "10m")]
        done = self.lab.exec(CLIENT, ["curl", "-s", "-m", "60", *urls], timeout=60)
        right = self.lab.content("/b/1k") + self.lab.content("/b/10m")
        self.assertEqual(_digest(done.stdout), _digest(right))
        self.assert_tables_empty(_LINGER + _SLACK)
        front, back = (self.counters(node) - before[node] for node in "ab")
        self.assertGreater(front["ebpf.forwarded"], 20)
        self.assertGreater(back["ebpf.sent"], (10 << 20) // 65536)
        self.assertGreater(back["ebpf.admitted"], 20)
        for counted in (front, back):
            self.assertLess(counted["ebpf.punted"], 20, counted)
            self.assertEqual((counted["ebpf.odd"], counted["ebpf.table-full"]), (0, 0))

    def test_own_content(self) -> None:
        """
        The front-end is the back-end: its kernel rewrites both ways.
        """
        before = self.counters("c")
        self.assert_fetched("c", "/c/10m")
        moved = self.counters("c") - before
        self.assertGreater(moved["ebpf.admitted"], 20)
        self.assertGreater(moved["ebpf.sent"], (10 << 20) // 65536)
        self.assertEqual(moved["ebpf.forwarded"], 0)

    def test_kept_alive(self) -> None:
        """
        Later requests on a connection stay in the kernel.
        """
        requests = 50
        said = self.python(_KEPT, self.lab.address("a", 4), "/b/1k", requests)
        self.assertEqual(said.split(), [hashlib.sha256(self.lab.content("/b/1k")).hexdigest()])
        moved = self.moved("a")
        self.assertEqual(moved["handoff.done"], 1)
        self.assertGreaterEqual(moved["ebpf.forwarded"], requests - 1)

    def test_upload(self) -> None:
        """
        What the client sends is forwarded as super-packets are, and arrives as it was.
        """
        before = self.counters("a")
        for family in (4, 6):
            body = self.lab.state / "content" / "b" / "10m"
            path = f"/b/upload/{family}"
            self.fetch("a", path, family, "-T", str(body))
            self.assertEqual(_digest(self.fetch("b", path)), _digest(body.read_bytes()))
        self.assertGreater((self.counters("a") - before)["ebpf.forwarded"], 100)
        self.assert_sound()

    def test_devices_that_do_less(self) -> None:
        """
        Without super-packets and with complete checksums, and with what is between.
        """
        self.addCleanup(self.lab.offload, True)
        for checksums in (True, False):
            self.lab.offload(False, checksums)
            for family in (4, 6):
                self.assert_fetched("a", "/b/10m", family)
                self.assert_fetched("a", "/a/10m", family)

    def test_packet_too_big(self) -> None:
        """
        A router's word reaches the back-end, which then sends less at a time.
        """
        narrow, wide = "1400", "1500"
        self.addCleanup(self._router_mtu, wide)
        for family in (4, 6):
            self._router_mtu(narrow)
            before = {node: self.counters(node) for node in "ab"}
            self.assert_fetched("a", "/b/100k", family)
            front, back = (self.counters(node) - before[node] for node in "ab")
            self.assertGreater(front["icmp.forwarded"], 0)
            self.assertGreater(back["icmp.passed-up"], 0)
            self._router_mtu(wide)
            for node in "ab":
                self.lab.exec(node, ["ip", f"-{family}", "route", "flush", "cache"])

    def _router_mtu(self, octets: str) -> None:
        # The client's own stays: the SYN is to promise more than the path can carry.
        command = ["ip", "link", "set", "dev", CLIENT, "mtu", octets]
        self.assertEqual(self.lab.exec(ROUTER, command).returncode, 0)

    def test_another_protocols_packet_too_big(self) -> None:
        """
        Is the kernel's to hear.
        """
        here, there = self.lab.address("a", 4), self.lab.address(CLIENT, 4)
        self.python(_TOO_BIG, here, there, host=ROUTER)
        self.await_that(lambda: self.moved("a")["icmp.passed-up"] > 0, 2, lambda: self.moved("a"))
        self.assertEqual(self.moved("a")["dropped.not-tcp"], 0)

    def test_port_in_use_at_the_origin(self) -> None:
        """
        The back-end's TCP has a connection with the same ends already: the older one gives
        way, and never is taken for the new one.
        """
        count = 12
        origin, front = self.lab.address("b", 4), self.lab.address("a", 4)
        said = self.python(_SAME_PORT, origin, front, "/b/1k", count)
        self.assertEqual(said.split(), ["1024"] * count)

    def test_octets_are_shown(self) -> None:
        """
        C{btcp flows} knows what the kernel has moved.
        """
        curl = ["curl", "-sS", "--limit-rate", "2M", url("a", 4, "/b/10m")]
        process = self.lab.popen(CLIENT, curl, stdout=subprocess.DEVNULL)

        def octets() -> int:
            flows = self.lab.query("b", "flows")["flows"]
            return int(flows[0]["octets"]) if flows else 0

        self.await_that(lambda: octets() > 100_000, 5, octets)
        self.assertIsNone(process.poll())
        self.assertEqual(process.wait(20), 0)


class LeftoverTests(EbpfTestCase):
    """
    What a datapath finds, and what it leaves.
    """

    def start(self, node: str, mode: Mode) -> None:
        self.lab.config = mode.config
        self.lab.start_daemon(node)

    def kill(self, node: str) -> None:
        self.lab.stop_daemon(node, signal.SIGKILL)

    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(setattr, self.lab, "config", self.lab.config)

    def tearDown(self) -> None:
        for node in self.lab.nodes:
            if self.lab.daemon_pid(node) is not None:
                self.lab.stop_daemon(node)
            self.assert_detached(node)
            self.assertEqual(self.tables(node), "")

    def test_stop(self) -> None:
        """
        Takes everything off, and does so again after the next start.
        """
        for _ in range(2):
            self.assert_attached("a")
            self.lab.stop_daemon("a")
            self.assert_detached("a")
            self.start("a", EBPF_REPLAY)

    def test_crash(self) -> None:
        """
        After C{kill -9} the programs are there still, and keep the kernel from answering the
        clients; the next start puts its own in their place; its stop leaves nothing.
        """
        self.kill("a")
        self.assert_attached("a")
        curl = ["curl", "-sS", "-m", "1", url("a", 4, "/a/1k")]
        self.assertEqual(self.lab.exec(CLIENT, curl).returncode, 28, "was answered")
        self.start("a", EBPF_REPLAY)
        self.assert_attached("a")
        self.assert_fetched("a", "/b/100k")

    def test_raw_after_ebpf(self) -> None:
        self.kill("a")
        self.start("a", RAW_REPLAY)
        self.assert_detached("a")
        self.assertIn("table netdev btcp", self.tables("a"))
        self.assertIn("what a crash left", self.logged("a"))
        self.assert_fetched("a", "/b/100k")

    def test_ebpf_after_raw(self) -> None:
        self.lab.stop_daemon("a")
        self.start("a", RAW_REPLAY)
        self.kill("a")
        self.start("a", EBPF_REPLAY)
        self.assert_attached("a")
        self.assert_fetched("a", "/b/100k")

    def test_mixed_cluster(self) -> None:
        """
        Nodes need not move packets the same way.
        """
        ways = {"a": RAW_REPLAY, "b": EBPF_REPLAY, "c": EBPF_COOKIE}
        for node in ways:
            self.lab.stop_daemon(node)
        for node, mode in ways.items():
            self.start(node, mode)
        for family in (4, 6):
            for front in ways:
                for holder in ways:
                    self.assert_fetched(front, f"/{holder}/100k", family)
        self.assert_sound()
