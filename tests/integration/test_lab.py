# SPDX-License-Identifier: MIT
"""
A lab with its origins alone: what all tests of the daemon stand on.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from btcp.lab import demo
from btcp.lab.capture import payload
from btcp.lab.cluster import STATE, Lab
from btcp.lab.programs import LabError, missing
from btcp.lab.status import status
from btcp.lab.topology import CLIENT, CLIENT_EXTRA, ORIGIN_PORT, ROUTER, url

PREFIX = "btcptestlab"
PROXY = """
pid {home}/proxy.pid;
error_log {home}/proxy.log;
events {{ }}
http {{
    access_log off;
    proxy_temp_path {home}/proxy;
    server {{ listen {listen}; location / {{ proxy_pass http://{to}; }} }}
}}
"""


CONNECTS = """
import socket, sys, time
began = time.monotonic()
socket.create_connection((sys.argv[1], int(sys.argv[2])), 20).close()
print(time.monotonic() - began)
"""


class LabTestCase(SynchronousTestCase):
    """
    @ivar lab: stands, without daemons.
    """

    def setUp(self) -> None:
        lacks = missing(daemons=False)
        if lacks:
            raise SkipTest("; ".join(lacks))
        self.lab = Lab(PREFIX)
        self.lab.up(daemons=False)
        self.addCleanup(self.lab.down)

    def curl(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        return self.lab.exec(CLIENT, ["curl", "-sS", "-m", "20", *arguments])

    def origin(self, node: str, family: int, path: str) -> str:
        return url(node, family, path, ORIGIN_PORT)


class DistanceTests(LabTestCase):
    """
    A delay between client and nodes.  Its accuracy and its cost depend on the machine, and are
    no test's concern.
    """

    def connecting(self, host: str, node: str, family: int) -> float:
        """
        @return: seconds.
        """
        address = self.lab.address(node, family)
        program = [sys.executable, "-c", CONNECTS, address, str(ORIGIN_PORT)]
        return float(self.lab.exec(host, program).stdout)

    def test_delay(self) -> None:
        """
        Between client and nodes, in both families; not among nodes.
        """
        self.lab.distance(0.2)
        for family in (4, 6):
            self.assertGreaterEqual(self.connecting(CLIENT, "b", family), 0.2)
            body = self.curl(self.origin("b", family, "/b/100k")).stdout
            self.assertEqual(body, self.lab.content("/b/100k"))
        self.assertLess(min(self.connecting("a", "b", 4) for _ in range(5)), 0.2)

    def test_end(self) -> None:
        self.lab.distance(0.2)
        self.lab.distance(0)
        self.assertLess(min(self.connecting(CLIENT, "b", 4) for _ in range(5)), 0.2)
        self.assertEqual(list((self.lab.state / "distance").glob("*.pid")), [])

    def test_from_the_start(self) -> None:
        self.lab.delay = 0.2
        self.lab.up(daemons=False)
        self.assertGreaterEqual(self.connecting(CLIENT, "b", 4), 0.2)

    def test_rate(self) -> None:
        """
        10 MB do not come faster than they can.
        """
        self.lab.distance(0, rate=20e6)
        done = self.curl("-w", "%{stderr}%{time_total}", self.origin("b", 4, "/b/10m"))
        self.assertEqual(done.stdout, self.lab.content("/b/10m"))
        self.assertGreater(float(done.stderr), 0.4)

    def test_loss(self) -> None:
        """
        Of packets, not of super-packets, once on their way.
        """
        self.lab.distance(0.002, loss=5)
        done = self.curl(self.origin("b", 4, "/b/10m"))
        self.assertEqual(done.stdout, self.lab.content("/b/10m"))
        counters = self.lab.exec("b", ["cat", "/proc/net/snmp"]).stdout.decode()
        names, values = (line.split() for line in counters.splitlines() if line.startswith("Tcp:"))
        self.assertGreater(int(dict(zip(names, values, strict=True))["RetransSegs"]), 100)

    def test_what_cannot_be(self) -> None:
        self.assertRaises(LabError, self.lab.distance, -1)
        self.assertRaises(LabError, self.lab.distance, 0.1, rate=-5)
        self.assertRaises(LabError, self.lab.distance, 0.1, loss=101)


class OriginTests(LabTestCase):
    def test_content_of_each_node(self) -> None:
        for node in self.lab.nodes:
            for family in (4, 6):
                for path in (f"/{node}/1k", f"/{node}/100k", "/shared/index.html"):
                    done = self.curl(self.origin(node, family, path))
                    self.assertEqual(done.stdout, self.lab.content(path), done.stderr)

    def test_nodes_hold_their_own_only(self) -> None:
        done = self.curl("-w", "%{http_code} %header{x-node}", self.origin("a", 4, "/b/1k"))
        self.assertTrue(done.stdout.endswith(b"404 a"), done.stdout)

    def test_log_names_the_client(self) -> None:
        for family in (4, 6):
            self.curl(self.origin("b", family, "/b/1k?x"))
        requests = self.lab.requests("b")
        self.assertEqual(
            [(request.client, request.uri, request.status, request.sent) for request in requests],
            [(self.lab.address(CLIENT, family), "/b/1k?x", 200, 1024) for family in (4, 6)],
        )

    def test_uploads(self) -> None:
        body = self.lab.state / "content" / "a" / "100k"
        target = self.origin("c", 4, "/c/upload/file")
        self.curl("-T", str(body), target)
        self.assertEqual(self.curl(target).stdout, body.read_bytes())
        self.assertEqual(self.curl("--data-binary", f"@{body}", target).stdout, b"102400\n")

    def test_long_header(self) -> None:
        done = self.curl("-H", f"X: {'x' * 15000}", self.origin("a", 6, "/a/index.html"))
        self.assertEqual(done.stdout, self.lab.content("/a/index.html"))

    def test_further_client_addresses(self) -> None:
        for number in CLIENT_EXTRA:
            for address, family in ((f"198.51.100.{number}", 4), (f"2001:db8:1::{number}", 6)):
                self.curl("--interface", address, self.origin("a", family, "/a/1k"))
        clients = {request.client for request in self.lab.requests("a")}
        self.assertEqual(len(clients), 2 * len(CLIENT_EXTRA))


class NetworkTests(LabTestCase):
    def test_loss(self) -> None:
        self.lab.loss(100)
        for family in (4, 6):
            self.assertEqual(self.curl("-m", "1", self.origin("a", family, "/")).returncode, 28)
        self.lab.loss(3)
        done = self.curl(self.origin("a", 6, "/a/10m"))
        self.assertEqual(done.stdout, self.lab.content("/a/10m"))
        rules = self.lab.exec(ROUTER, ["nft", "list", "ruleset"]).stdout
        self.assertIn(b"0-299 drop", rules)
        self.lab.loss(0)
        self.assertEqual(self.lab.exec(ROUTER, ["nft", "list", "ruleset"]).stdout, b"")
        self.assertRaises(LabError, self.lab.loss, 101)

    def largest(self, family: int) -> int:
        """
        The payload of the largest packet that carries a download.
        """
        with self.lab.capture(CLIENT, f"tcp src port {ORIGIN_PORT}", snaplen=128) as path:
            self.curl(self.origin("a", family, "/a/100k"))
        lines = subprocess.run(
            ["tcpdump", "-nqr", str(path)], capture_output=True, check=True, text=True
        ).stdout.splitlines()
        return max(int(line.rpartition(" ")[2]) for line in lines)

    def test_offload(self) -> None:
        for family, most in ((4, 1448), (6, 1428)):
            self.assertGreater(self.largest(family), most)
            self.lab.offload(False, checksums=False)
            self.assertEqual(self.largest(family), most)
            self.lab.offload(True)
            self.assertGreater(self.largest(family), most)

    def test_capture_has_every_octet(self) -> None:
        with self.lab.capture("b", "tcp", outgoing=True) as path:
            self.curl("-r", "0-1048575", self.origin("b", 4, "/b/10m"))
        header = 1000
        octets = payload(path, f"src port {ORIGIN_PORT}")
        self.assertTrue(1 << 20 < octets < (1 << 20) + header, octets)
        self.assertEqual(payload(path, f"dst port {ORIGIN_PORT}"), 0)

    def test_bad_filter(self) -> None:
        with self.assertRaises(LabError):
            with self.lab.capture("a", "nonsense here"):
                self.fail("the filter was taken")

    def test_hosts_outside_are_out_of_reach(self) -> None:
        devices = self.lab.exec(CLIENT, ["ls", "/sys/class/net"])
        self.assertEqual(self.curl("-m", "2", "http://203.0.113.1/").returncode, 7, devices)


class ProcessTests(LabTestCase):
    def test_exec(self) -> None:
        done = self.lab.exec("a", ["sh", "-c", "cat; echo oops >&2; exit 3"], stdin=b"in")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (3, b"in", b"oops\n"))

    def test_exec_times_out(self) -> None:
        with self.assertRaises(subprocess.TimeoutExpired):
            self.lab.exec("a", ["sleep", "60"], timeout=0.2)

    def test_command_line(self) -> None:
        btcp = [sys.executable, "-m", "btcp.cli", "lab"]
        prefix = ["--prefix", PREFIX]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}

        def run(*argv: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run([*btcp, *argv], capture_output=True, text=True, env=environment)

        done = run("exec", *prefix, "b", "sh", "-c", "ip -br address show eth0; exit 5")
        self.assertIn("192.0.2.12/24", done.stdout)
        self.assertEqual(done.returncode, 5)
        self.assertEqual(run("exec", *prefix, "z", "true").returncode, 1)
        status = run("status", *prefix).stdout
        self.assertEqual(status.count("runs, pid"), 3, status)
        self.assertEqual(run("down", *prefix).returncode, 0)
        done = run("status", *prefix)
        self.assertEqual((done.returncode, done.stdout), (1, ""))

    def test_down_leaves_nothing(self) -> None:
        shell = self.lab.popen("a", ["sh", "-c", "sleep 60 & sleep 60"])
        origin = self.lab.origin_pid("a")
        self.lab.down()
        shell.communicate()
        self.assertEqual(self.lab.network.standing(), [])
        self.assertFalse((STATE / PREFIX).exists())
        self.assertEqual(shell.returncode, -signal.SIGTERM)
        self.assertFalse(Path(f"/proc/{origin}/ns/net").exists())

    def test_up_after_a_crash(self) -> None:
        master = self.lab.origin_pid("a")
        assert master is not None
        os.kill(master, signal.SIGKILL)  # its worker lives on and keeps the port
        Lab(PREFIX).up(daemons=False)
        done = self.curl(self.origin("a", 4, "/a/1k"))
        self.assertEqual(done.stdout, self.lab.content("/a/1k"))

    def test_labs_side_by_side(self) -> None:
        other = Lab(f"{PREFIX}2", "a")
        self.addCleanup(other.down)
        other.up(daemons=False)
        self.curl(self.origin("a", 4, "/a/1k"))
        self.assertEqual(len(self.lab.requests("a")), 1)
        self.assertEqual(other.requests("a"), [])
        other.down()
        self.assertEqual(len(self.lab.network.standing()), 5)

    def test_standing(self) -> None:
        self.assertEqual(Lab.standing(PREFIX).nodes, ("a", "b", "c"))

    def test_failure_leaves_nothing(self) -> None:
        other = Lab(f"{PREFIX}2", "ab")
        (STATE / other.prefix).mkdir()
        self.addCleanup(other.down)
        self.patch(sys, "executable", "/does/not/exist")
        self.assertRaises(LabError, other.up)
        self.assertEqual(other.network.standing(), [])
        self.assertFalse(other.state.exists())


class DaemonTests(SynchronousTestCase):
    def setUp(self) -> None:
        lacks = missing()
        if lacks:
            raise SkipTest("; ".join(lacks))
        self.lab = Lab(PREFIX)
        self.addCleanup(self.lab.down)

    def fetch(self, front: str, path: str) -> bytes:
        return self.lab.exec(CLIENT, ["curl", "-sS", "-m", "10", url(front, 4, path)]).stdout

    def test_stop_kill_and_start(self) -> None:
        self.lab.up()
        self.assertEqual(self.fetch("a", "/b/1k"), self.lab.content("/b/1k"))
        self.lab.stop_daemon("b")
        self.assertIsNone(self.lab.daemon_pid("b"))
        self.assertRaises(LabError, self.lab.stop_daemon, "b")
        self.lab.stop_daemon("c", signal.SIGKILL)
        self.assertNotEqual(self.fetch("a", "/b/1k"), self.lab.content("/b/1k"))
        self.lab.start_daemon("b", "c")
        self.assertRaises(LabError, self.lab.start_daemon, "b")
        for node in "bc":
            path = f"/{node}/1k"
            self.assertEqual(self.fetch("a", path), self.lab.content(path))

    def test_bad_configuration_says_why(self) -> None:
        self.lab.config = {"window-scale": 99}
        error = self.assertRaises(LabError, self.lab.up)
        self.assertIn("window-scale", str(error))
        self.assertEqual(self.lab.network.standing(), [])

    def test_status_and_query(self) -> None:
        self.lab.up()
        self.fetch("a", "/b/1k")
        self.assertEqual(self.lab.query("a", "stats")["node"], "a")
        self.assertRaises(LabError, self.lab.query, "a", "nonsense")
        self.assertIn("counter", status(self.lab))

    def test_demo(self) -> None:
        out = StringIO()
        with redirect_stdout(out):
            self.assertEqual(demo.run(prefix=PREFIX), 0, out.getvalue())
        rows = [line for line in out.getvalue().splitlines() if line.startswith("http://")]
        self.assertEqual(len(rows), 18)
        self.assertEqual(self.lab.network.standing(), [])

    def test_demo_tells_a_proxy(self) -> None:
        """
        Were the front-end to pass the response on, it would show.
        """
        out = StringIO()
        self.patch(demo, "asked", self.through_a_proxy)
        with redirect_stdout(out):
            self.assertEqual(demo.run(prefix=PREFIX), 1)
        self.assertIn("the response crossed the front-end", out.getvalue())

    def through_a_proxy(self, lab: Lab) -> Iterator[demo.Answer]:
        lab.stop_daemon("a")
        home = lab.home("a")
        config = home / "proxy.conf"
        config.write_text(PROXY.format(home=home, listen="192.0.2.11:80", to="192.0.2.12:8080"))
        done = lab.exec("a", ["nginx", "-p", str(home), "-c", str(config)])
        self.assertEqual(done.returncode, 0, done.stderr)
        yield demo.ask(lab, 4, "a", "b")
