# SPDX-License-Identifier: MIT
"""
Daemons that die while the kernel moves the packets of live connections, and what begins
after them.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from btcp.datapath.ebpf import abi
from btcp.lab.topology import CLIENT
from tests.amounts import amount
from tests.integration.standing import DOWNLOADER, ENDS, early_resets, python
from tests.integration.test_ebpf_lab import EbpfTestCase
from tests.modes import EBPF_COOKIE, in_modes

_CONFIG: Mapping[str, object] = {}

_DOWNLOADS = amount(20, 8)
_PATIENCE = 100.0
_LINGER = 2.0  # the default
_SLACK = 5.0
_port = itertools.count(20000)

# Asks for the same thing again and again, on so many connections that it keeps, until its
# input ends; each answer has to come, and to be right.
_KEEPS_ASKING = """
import select, socket, sys, threading
host, path, size, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
body = open(sys.argv[5], "rb").read()
assert len(body) == size
over, answered, wrong = threading.Event(), [0] * count, []
def ask(number):
    try:
        with socket.create_connection((host, 80), timeout=30) as made, made.makefile("rb") as lines:
            while not over.is_set():
                made.sendall(f"GET {path} HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n".encode())
                assert lines.readline().startswith(b"HTTP/1.1 200"), "status"
                while lines.readline() != b"\\r\\n":
                    pass
                assert lines.read(size) == body, "body"
                answered[number] += 1
                over.wait(0.02)
    except Exception as problem:
        wrong.append(f"{number}: {problem!r}")
threads = [threading.Thread(target=ask, args=[number]) for number in range(count)]
[thread.start() for thread in threads]
sys.stdin.read()
over.set()
[thread.join() for thread in threads]
print(min(answered), wrong)
"""

# Downloads a file, by 300 kB a second until its input ends, and as fast as it can from then on;
# says where it is not what it should be.
_DOWNLOADS_UNHURRIED = """
import itertools, select, socket, sys
host, port, path, right = sys.argv[1], int(sys.argv[2]), sys.argv[3], open(sys.argv[4], "rb").read()
connection = socket.create_connection((host, 80), 30, ("", port))
connection.sendall(f"GET {path} HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n".encode())
answer, hurry = bytearray(), False
while piece := connection.recv(1 << 16):
    answer += piece
    hurry = hurry or bool(select.select([sys.stdin], [], [], 0.2)[0])
body = answer.partition(b"\\r\\n\\r\\n")[2]
if body != right:
    same = sum(1 for _ in itertools.takewhile(bool, map(int.__eq__, body, right)))
    sys.exit(f"{len(body)} octets, the first {same} of them right")
"""

# Makes what a daemon left be of another version.
_ANOTHER_VERSION = """
from btcp.datapath.ebpf import abi
from btcp.datapath.ebpf.libbpf import Library, Map
from btcp.datapath.ebpf.takeover import find
left = find("eth0")
identity = Map(Library(), left.maps["identity"], abi.IDENTITY.size)
epoch, version, *others = abi.IDENTITY.unpack(identity.lookup(abi.WORD.pack(0)))
identity.update(abi.WORD.pack(0), abi.IDENTITY.pack(epoch, version + 1, *others))
"""


class TakeoverTestCase(EbpfTestCase):
    prefix: ClassVar[str] = "tkover"
    config: ClassVar[Mapping[str, object]] = _CONFIG

    def setUp(self) -> None:
        super().setUp()
        waits, hurry = os.pipe()
        self._waits, self._hurry = os.fdopen(waits, "rb"), os.fdopen(hurry, "wb")
        self.addCleanup(self._waits.close)
        self.addCleanup(self._hurry.close)
        # Else most of what a download is about is in buffers before anybody is killed.  It
        # stays so for as long as the lab stands, which is this module's own.
        for host in (CLIENT, *self.lab.nodes):
            for name in ("rmem", "wmem"):
                setting = f"net.ipv4.tcp_{name}=4096 65536 262144"
                self.assertEqual(self.lab.exec(host, ["sysctl", "-qw", setting]).returncode, 0)

    def kill(self, node: str) -> None:
        self.lab.stop_daemon(node, signal.SIGKILL)

    def download(self, front: str, holder: str, family: int = 4) -> subprocess.Popen[bytes]:
        """
        10 MB, of which not all come before L{finish}, compared with what they should be, octet by
        octet.
        """
        # A back-end refuses a port that it has already from another front-end.
        address, port = self.lab.address(front, family), next(_port)
        path, right = f"/{holder}/10m", self.lab.state / "content" / holder / "10m"
        program = python(_DOWNLOADS_UNHURRIED, address, port, path, right)
        return self.lab.popen(CLIENT, program, stdin=self._waits)

    def under_way(self, front: str, holder: str) -> subprocess.Popen[bytes]:
        """
        A download that has been handed off.
        """
        address = self.lab.address(front, 4)
        process = self.lab.popen(CLIENT, python(DOWNLOADER, address, f"/{holder}/10m", 0))
        self.await_that(
            lambda: any(flow["state"] == "FORWARDING" for flow in self.listed(front)),
            5,
            lambda: self.listed(front),
        )
        return process

    def listed(self, node: str) -> list[dict[str, object]]:
        flows: list[dict[str, object]] = self.lab.query(node, "flows")["flows"]
        return flows

    def finish(self, *running: subprocess.Popen[bytes]) -> None:
        self._hurry.close()
        said = [process.communicate(timeout=_PATIENCE)[1].decode() for process in running]
        self.assertEqual([process.returncode for process in running], [0] * len(running), said)

    def resumed(self, node: str) -> int:
        """
        How many halves of flows the daemon that runs now went on with.
        """
        counters = self.counters(node)
        return counters["resumed.front"] + counters["resumed.back"]


@in_modes(EBPF_COOKIE)
class DownloadTests(TakeoverTestCase):
    def test_downloads_with_losses_outlive_daemons(self) -> None:
        """
        Many at once of 10 MB each, with 2 % of the packets lost each way, through two
        front-ends and from two back-ends; of each kind the daemon is killed in the middle:
        every octet right, no reset, nothing left behind.
        """
        self.lab.loss(2)
        self.addCleanup(self.lab.loss, 0)
        with self.lab.capture(CLIENT, ENDS) as ends:
            running = [
                self.download("ac"[number % 2], "bc"[number // 2 % 2], 4 + number % 3 % 2 * 2)
                for number in range(_DOWNLOADS)
            ]
            time.sleep(2)
            for node in "ab":
                self.kill(node)
                time.sleep(0.5)
                self.lab.start_daemon(node)
                self.assertGreater(self.resumed(node), 0)
            self.finish(*running)
        self.assertEqual(early_resets(ends), [])
        self.assert_tables_empty(_LINGER + _SLACK)
        self.assert_sound()

    def test_upgrade(self) -> None:
        """
        A daemon that is told to leave does so in order, and the next one goes on.
        """
        self.lab.loss(2)
        self.addCleanup(self.lab.loss, 0)
        with self.lab.capture(CLIENT, ENDS) as ends:
            running = [self.download(front, holder) for front, holder in ("ab", "ba", "aa")]
            time.sleep(1)
            for node in "ab":
                epoch = self.lab.query("c", "peers")["peers"]["ab".index(node)]["epoch"]
                self.lab.stop_daemon(node, signal.SIGUSR2)
                self.assert_attached(node)
                self.lab.start_daemon(node)
                self.assertGreater(self.resumed(node), 0)
                again = self.lab.query("c", "peers")["peers"]["ab".index(node)]["epoch"]
                self.assertEqual(again, epoch)
            self.finish(*running)
        self.assertEqual(early_resets(ends), [])
        self.assert_tables_empty(_LINGER + _SLACK)
        self.assert_sound()


@in_modes(EBPF_COOKIE)
class KeptAliveTests(TakeoverTestCase):
    def test_load(self) -> None:
        """
        Connections go on being asked on while there is no daemon, at either end, and after
        another one has begun.
        """
        body = self.lab.state / "content" / "b" / "1k"
        host, size, count = self.lab.address("a", 4), 1024, 30
        program = python(_KEEPS_ASKING, host, "/b/1k", size, count, body)
        with self.lab.capture(CLIENT, ENDS) as ends:
            client = self.lab.popen(CLIENT, program, stdin=subprocess.PIPE)
            self.await_that(lambda: self.flows()["b"]["back"] == count, 10, lambda: self.flows())
            for node in "ab":
                self.kill(node)
                time.sleep(1)
                self.lab.start_daemon(node)
                self.assertEqual(self.resumed(node), count)
            time.sleep(1)
            output, errors = client.communicate(b"", timeout=60)
            self.assertEqual(errors, b"")
            fewest, _, wrong = output.decode().partition(" ")
            self.assertEqual(wrong.strip(), "[]")
            self.assertGreater(int(fewest), 50)
        self.assertEqual(early_resets(ends), [])
        self.assert_tables_empty(_LINGER + _SLACK)
        self.assert_sound()


class EndTests(TakeoverTestCase):
    """
    Where nothing goes on.
    """

    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(setattr, self.lab, "config", self.lab.config)

    def unload(self, node: str, *options: str) -> subprocess.CompletedProcess[bytes]:
        config = str(self.lab.home(node) / "node.yaml")
        btcp = str(Path(sys.executable).with_name("btcp"))
        return self.lab.exec(node, [btcp, "unload", *options, config])

    def test_unload(self) -> None:
        """
        Not while a daemon runs; after one that died it takes everything away.
        """
        done = self.unload("a")
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"is btcp running?", done.stderr)
        self.assert_attached("a")
        self.kill("a")
        self.assert_attached("a")
        done = self.unload("a")
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertIn(b"removed tc programs on eth0", done.stdout)
        self.assertIn(b"btcp.sock", done.stdout)
        self.assert_detached("a")
        self.assertEqual(self.tables("a"), "")
        self.assertFalse((self.lab.home("a") / "btcp.sock").exists())
        self.assertEqual(self.unload("a").stdout, b"nothing to remove\n")
        self.lab.start_daemon("a")
        self.assertEqual(self.resumed("a"), 0)
        self.assert_fetched("a", "/b/100k")

    def test_unload_by_force(self) -> None:
        """
        While a daemon hangs; one that works restores what is removed under it.
        """
        pid = self.lab.daemon_pid("a")
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            self.assertEqual(self.unload("a", "--force").returncode, 0)
            self.assert_detached("a")
        finally:
            os.kill(pid, signal.SIGCONT)
        self.await_that(
            lambda: "was no longer attached" in self.logged("a"), 30, lambda: self.logged("a")
        )
        self.assert_attached("a")
        self.lab.stop_daemon("a")
        self.assert_sound_but("a")

    def assert_sound_but(self, stopped: str) -> None:
        self.assertNotIn("Traceback", self.logged(stopped))

    def test_another_version(self) -> None:
        """
        Is not taken over: what a daemon before or after this one left means something else.
        """
        process = self.under_way("a", "b")
        self.kill("a")
        self.python(_ANOTHER_VERSION, host="a")
        self.lab.start_daemon("a")
        version = abi.VERSION + 1
        self.assertIn(f"is not taken over: the layouts are of version {version}", self.logged("a"))
        self.assertEqual(self.resumed("a"), 0)
        process.communicate(timeout=_PATIENCE)
        self.assertNotEqual(process.returncode, 0)
        self.assert_tables_empty(_LINGER + _SLACK)
        self.assert_attached("a")
        self.assert_fetched("a", "/b/100k")

    def test_stop_ends_flows(self) -> None:
        """
        An order to stop is no order to leave.
        """
        process = self.under_way("a", "b")
        self.lab.stop_daemon("a")
        self.assert_detached("a")
        process.communicate(timeout=_PATIENCE)
        self.assertNotEqual(process.returncode, 0)

    def test_nobody_comes(self) -> None:
        """
        A back-end whose daemon does not come back is given up in the end.
        """
        self.lab.stop_daemon("a")
        self.lab.config = {**self.lab.config, "timeouts": {"restart-grace": 2}}
        self.lab.start_daemon("a")
        process = self.under_way("a", "b")
        self.kill("b")
        time.sleep(1.2)  # beyond the grace of a link
        self.assertEqual(len(self.listed("a")), 1)
        self.await_that(lambda: not self.listed("a"), 3, lambda: self.listed("a"))
        process.communicate(timeout=_PATIENCE)
        self.assertNotEqual(process.returncode, 0)
