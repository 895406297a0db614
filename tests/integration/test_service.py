# SPDX-License-Identifier: MIT
"""
C{twistd btcp} as a service: without root, reloaded under requests, its log moved away.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from socket import AF_UNIX, SOCK_DGRAM, socket
from typing import Any, ClassVar
from unittest import SkipTest

import btcp
from btcp.lab.topology import CLIENT, node_yaml, url
from tests.integration.standing import ClusterTestCase, python
from tests.parallel import slot

_CODE = Path(btcp.__file__).parents[1]
_PARTITION = [
    *({"path": f"/{node}/", "nodes": [node]} for node in "abc"),
    {"path": "/shared/", "nodes": ["b", "c"]},
]
_CONFIG: Mapping[str, object] = {"timeouts": {"linger": 1.0}, "partition": _PARTITION}

_NOBODY = ("--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs")
# The device as udev makes it; not every container does.
_DEVICE = 'mount --bind "$0" /dev/net/tun && exec "$@"'

# Asks again and again until it is told to stop; prints how many answers were good, and
# what was wrong with the others.
_ASKING = """
import http.client, select, sys
address, path, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
good, bad = 0, []
while not select.select([sys.stdin], [], [], 0.005)[0]:
    connection = http.client.HTTPConnection(address, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status == 200 and len(body) == size:
            good += 1
        else:
            bad.append(answer.status)
    except OSError as problem:
        bad.append(repr(problem))
    connection.close()
print(good, bad)
"""


class ServiceTestCase(ClusterTestCase):
    prefix: ClassVar[str] = f"svc{slot()}"
    config: ClassVar[Mapping[str, object]] = _CONFIG

    def setUp(self) -> None:
        super().setUp()
        self.scratch = Path("/run/btcp-lab") / self.prefix / f"scratch-{time.monotonic_ns()}"
        self.scratch.mkdir(mode=0o755)
        self.addCleanup(shutil.rmtree, self.scratch, True)

    def get(self, front: str, path: str) -> bytes:
        return self.lab.exec(CLIENT, ["curl", "-s", "-m", "3", url(front, 4, path)]).stdout


class StartTests(ServiceTestCase):
    """
    Starts that the host does not allow: one line that names the reason, nothing left behind.
    """

    def start(self, *before: str) -> tuple[str, str]:
        """
        Start a daemon on node a in the foreground, which must fail.

        @return: its standard error and its log.
        """
        log = self.scratch / "twistd.log"
        twistd = str(Path(sys.executable).with_name("twistd"))
        options = ["--nodaemon", "--pidfile=", f"--logfile={log}", "btcp", "-c"]
        config = str(self.lab.home("a") / "node.yaml")
        command = ["timeout", "20", "env", f"PYTHONPATH={_CODE}", *before, twistd]
        done = self.lab.exec("a", [*command, *options, config])
        self.assertEqual(done.returncode, 1, done.stderr)
        return done.stderr.decode(), log.read_text()

    def assert_refused(self, reason: str, *before: str) -> None:
        said, logged = self.start(*before)
        (line,) = said.splitlines()
        self.assertRegex(line, f"^btcp: cannot start: .*{reason}")
        self.assertRegex(logged, f"cannot start: .*{reason}")
        self.assertNotIn("Traceback", logged)
        self.assertEqual(self.lab.exec("a", ["nft", "list", "tables"]).stdout, b"")

    def test_control_port_is_occupied(self) -> None:
        self.lab.stop_daemon("a")
        holder = self.lab.popen(
            "a",
            python(
                "import socket, sys; s = socket.create_server(('192.0.2.11', 7311));"
                "print('there', flush=True); sys.stdin.read()"
            ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert holder.stdout is not None
        self.addCleanup(holder.communicate)
        self.assertEqual(holder.stdout.readline(), b"there\n")
        self.assert_refused("192.0.2.11:7311: .*in use")

    def test_nft_is_missing(self) -> None:
        self.lab.stop_daemon("a")
        self.assert_refused("nft", "PATH=/usr/bin:/bin")


class ReloadTests(ServiceTestCase):
    def tearDown(self) -> None:
        self.write()
        self.hang_up("configuration reloaded")

    def write(self, **changes: object) -> None:
        """
        Give node C{a} another file.
        """
        home = self.lab.home("a")
        settings = {**self.lab.config, **changes}
        (home / "node.yaml").write_text(node_yaml("a", home, "abc", settings))

    def hang_up(self, expected: str) -> str:
        """
        Send SIGHUP and wait for what is logged then.
        """
        size = self._log("a").stat().st_size
        pid = self.lab.daemon_pid("a")
        assert pid is not None
        os.kill(pid, signal.SIGHUP)

        def said() -> str:
            with self._log("a").open() as log:
                log.seek(size)
                return log.read()

        self.await_that(lambda: expected in said(), 5, said)
        return said()

    def test_under_requests(self) -> None:
        """
        What two nodes have is given to the one, then to the other, ten times; a download
        goes on, and no request is lost.
        """
        asking = self.lab.popen(
            CLIENT,
            python(_ASKING, self.lab.address("a", 4), "/shared/1k", 1024),
            stdin=subprocess.PIPE,
        )
        slow = ["curl", "-s", "--limit-rate", "4M", url("a", 4, "/shared/10m")]
        download = self.lab.popen(CLIENT, slow)
        before = {node: len(self.lab.requests(node)) for node in "bc"}
        for turn in range(10):
            holder = "cb"[turn % 2]
            moved = [*_PARTITION[:3], {"path": "/shared/", "nodes": [holder]}]
            self.write(partition=moved)
            self.assertIn("changed: partition", self.hang_up("reloaded"))
            time.sleep(0.1)
        good, bad = asking.communicate(b"\n", timeout=10)[0].decode().split(" ", 1)
        self.assertEqual(bad.strip(), "[]")
        self.assertGreater(int(good), 20)
        self.assertEqual(download.communicate(timeout=20)[0], self.lab.content("/shared/10m"))
        for node, count in before.items():
            self.assertGreater(len(self.lab.requests(node)), count + 5)
        self.assert_sound()

    def test_errors(self) -> None:
        """
        Two rules for one path and a word for a number: both are told, and the old map stays.
        """
        twice = [{"path": "/b/", "nodes": ["b"]}, {"path": "/b/", "nodes": ["b"]}]
        self.write(partition=twice, timeouts={"linger": "long"})
        said = self.hang_up("configuration not reloaded")
        self.assertIn("timeouts.linger: want seconds", said)
        self.assertIn("partition[1]", said)
        self.assertEqual(self.get("a", "/a/1k"), self.lab.content("/a/1k"))

    def test_restart_needed(self) -> None:
        """
        A new port needs a restart; so the new map, in the same file, waits, too.
        """
        listeners = {"web": {"port": 81, "origin": 8080}}
        self.write(listeners=listeners, partition=[_PARTITION[1]])
        said = self.hang_up("configuration not reloaded")
        self.assertIn("only a restart can change listeners; nothing was changed", said)
        self.assertEqual(self.get("a", "/a/1k"), self.lab.content("/a/1k"))


class NewNodeTests(ServiceTestCase):
    """
    The cluster of a and b gets a third node.
    """

    def test_further_node(self) -> None:
        lab = self.lab
        small = {**self.lab.config, "partition": [_PARTITION[0], _PARTITION[1]]}
        for node in "ab":
            lab.stop_daemon(node)
        try:
            for node in "ab":
                self._start(node, small)
            self.assertEqual(self._linked("c"), {"a": "down", "b": "down"})
            for node in "ab":
                home = lab.home(node)
                (home / "node.yaml").write_text(node_yaml(node, home, "abc", dict(self.lab.config)))
                pid = lab.daemon_pid(node)
                assert pid is not None
                os.kill(pid, signal.SIGHUP)
            up = {"a": "up", "b": "up"}
            self.await_that(lambda: self._linked("c") == up, 15, lambda: lab.log("a"))
            self.assertEqual(self.get("a", "/c/1k"), lab.content("/c/1k"))
        finally:
            for node in "abc":
                if lab.daemon_pid(node) is not None:
                    lab.stop_daemon(node)

    def _linked(self, node: str) -> dict[str, str]:
        peers = self.lab.query(node, "peers")["peers"]
        return {peer["node"]: peer["state"] for peer in peers}

    def _start(self, node: str, config: Mapping[str, object]) -> None:
        """
        Start a node that knows of a and b only.
        """
        home = self.lab.home(node)
        (home / "node.yaml").write_text(node_yaml(node, home, "ab", dict(config)))
        program = str(Path(sys.executable).with_name("twistd"))
        files = [f"--pidfile={home / 'twistd.pid'}", f"--logfile={home / 'twistd.log'}"]
        command = [program, f"--rundir={home}", *files, "btcp", "-c", str(home / "node.yaml")]
        done = self.lab.exec(node, ["env", f"PYTHONPATH={_CODE}", *command])
        self.assertEqual(done.returncode, 0, done.stderr)
        self.await_that((home / "btcp.sock").exists, 10, lambda: self.lab.log(node))


class Running:
    """
    A daemon in the foreground.

    @ivar told: what it told its supervisor.
    """

    def __init__(self, process: subprocess.Popen[bytes], listening: socket) -> None:
        self.process = process
        self._listening = listening
        self.told: list[str] = []

    def await_told(self, what: str, seconds: float = 20) -> None:
        """
        @raise TimeoutError: it did not say it.
        """
        self._listening.settimeout(seconds)
        while not any(what in each for each in self.told):
            self.told.append(self._listening.recv(4096).decode())

    def drain(self) -> None:
        """
        Take what it has told by now.
        """
        self._listening.setblocking(False)
        try:
            while True:
                self.told.append(self._listening.recv(4096).decode())
        except BlockingIOError:
            pass


class UserTests(ServiceTestCase):
    """
    Node a by hand; the nodes b and c are as they were.
    """

    def setUp(self) -> None:
        super().setUp()
        if self.lab.daemon_pid("a") is not None:
            self.lab.stop_daemon("a")
        tun = self.scratch / "tun"
        os.mknod(tun, stat.S_IFCHR | 0o666, os.makedev(10, 200))
        os.chmod(tun, 0o666)
        self.tun = tun
        self.run_directory = self.scratch / "run"

    @contextmanager
    def daemon(self, *before: str, **changes: object) -> Iterator[Running]:
        """
        As a supervisor runs it.
        """
        self.run_directory.mkdir(exist_ok=True)
        config = self.scratch / "node.yaml"
        settings = {**self.lab.config, "datapath": "auto", "adoption": "auto", **changes}
        config.write_text(node_yaml("a", self.run_directory, "abc", settings))
        program = str(Path(sys.executable).with_name("twistd"))
        command = [program, "--nodaemon", "--pidfile=", "btcp", "-c", str(config)]
        inside = ["unshare", "-m", "sh", "-c", _DEVICE, str(self.tun)]
        with socket(AF_UNIX, SOCK_DGRAM) as listening:
            path = str(self.scratch / "notify")
            listening.bind(path)
            os.chmod(path, 0o777)
            environment = [f"PYTHONPATH={_CODE}", f"NOTIFY_SOCKET={path}"]
            output = (self.scratch / "output").open("wb")
            process = self.lab.popen(
                "a",
                [*inside, "env", *environment, *before, *command],
                stdout=output,
                stderr=output,
            )
            running = Running(process, listening)
            try:
                yield running
            finally:
                process.terminate()
                process.wait(10)
                running.drain()
                output.close()
                os.unlink(path)

    def output(self) -> str:
        return (self.scratch / "output").read_text()

    def status(self, process: subprocess.Popen[bytes]) -> dict[str, str]:
        """
        What the kernel says of the daemon.
        """
        text = Path(f"/proc/{process.pid}/status").read_text()
        return dict(line.split(":\t", 1) for line in text.splitlines())

    def capable(self, *names: str) -> list[str]:
        """
        What makes a command run by nobody, with these capabilities.
        """
        some = ",".join(["-all", *(f"+{name}" for name in names)])
        sets = [f"--{kind}-caps={some}" for kind in ("inh", "ambient")]
        before = ["setpriv", *_NOBODY, *sets, f"--bounding-set={some}"]
        done = subprocess.run([*before, *python("import twisted")], capture_output=True)
        if done.returncode:
            raise SkipTest(f"nobody cannot run {sys.executable}: {done.stderr.decode()}")
        return before

    def assert_works(self, running: Running, expected: str) -> None:
        """
        It serves, as front-end and as back-end, by nobody with the four capabilities.
        """
        running.await_told("READY=1")
        self.await_that(self._all_linked, 15, self.output)
        status = self.status(running.process)
        self.assertEqual(status["Uid"].split(), ["65534"] * 4)
        self.assertEqual(status["CapPrm"], expected)
        self.assertEqual(status["CapEff"], expected)
        for front, path in (("a", "/b/100k"), ("b", "/a/100k"), ("a", "/a/1k")):
            self.assertEqual(self.get(front, path), self.lab.content(path))
        moved = self.lab.query("b", "stats")["counters"]
        self.assertGreater(moved.get("handoff.sent", 0), 0)

    def _all_linked(self) -> bool:
        return all(
            peer["state"] == "up" for n in "bc" for peer in self.lab.query(n, "peers")["peers"]
        )

    def assert_nothing_left(self) -> None:
        tables = self.lab.exec("a", ["nft", "list", "tables"]).stdout
        filters = self.lab.exec("a", ["tc", "filter", "show", "dev", "eth0", "ingress"]).stdout
        devices = self.lab.exec("a", ["ip", "-o", "link"]).stdout
        self.assertEqual((tables, filters, b"btcp0" in devices), (b"", b"", False))

    def test_four_capabilities(self) -> None:
        """
        Everything, adoption by cookie too, if the kernel has it.
        """
        caps = self.capable("net_admin", "net_raw", "bpf", "perfmon")
        self.run_directory.mkdir()
        os.chown(self.run_directory, 65534, 65534)
        with self.daemon(*caps) as running:
            self.assert_works(running, "000000c000003000")
            self.assertIn("datapath: ebpf", self.output())
            self.assertIn("adoption: cookie", self.output())
        self.assertTrue(any("STOPPING=1" in each for each in running.told))
        self.assert_nothing_left()

    def test_two_capabilities(self) -> None:
        """
        Without CAP_BPF it is the raw datapath; the log is JSON, on standard output.
        """
        self.run_directory.mkdir()
        os.chown(self.run_directory, 65534, 65534)
        caps = self.capable("net_admin", "net_raw")
        with self.daemon(*caps, log={"format": "json"}) as running:
            self.assert_works(running, "0000000000003000")
        records = [json.loads(line) for line in self.output().splitlines()]
        said = [record.get("message", "") for record in records]
        self.assertTrue(any(s.startswith("datapath: raw, for the kernel refuses") for s in said))
        self.assertIn("handed-off", [record.get("event") for record in records])
        self.assert_nothing_left()

    def test_root_becomes_a_user(self) -> None:
        file = self.scratch / "log" / "btcp.log"
        file.parent.mkdir()
        os.chown(file.parent, 65534, 65534)
        log = {"format": "json", "file": str(file)}
        with self.daemon(user="nobody", log=log) as running:
            self.assert_works(running, "000000c000003000")
            self.assertEqual(os.stat(self.run_directory).st_uid, 65534)
            self.assertEqual(os.stat(file).st_uid, 65534)
            self._look_at_records(file)
            self._rotate(file, running)
        self.assert_nothing_left()
        self.assertFalse((self.run_directory / "btcp.sock").exists())

    def _look_at_records(self, file: Path) -> None:
        def ended() -> list[dict[str, Any]]:
            records = [json.loads(line) for line in file.read_text().splitlines()]
            return [record for record in records if record.get("event") == "ended"]

        self.await_that(lambda: len(ended()) == 2, 5, file.read_text)
        own, far = sorted(ended(), key=lambda entry: str(entry["node"]))  # either may end first
        self.assertEqual((far["path"], far["rule"], far["node"]), ("/b/100k", "/b/", "b"))
        self.assertEqual((own["node"], own["reason"], own["listener"]), ("a", "closed", "web"))
        self.assertTrue(far["client"].startswith(self.lab.address(CLIENT, 4)))
        counted = ["-o", "/dev/null", "-w", "%{size_request} %{size_header} %{size_download}"]
        said = self.lab.exec(CLIENT, ["curl", "-s", *counted, url("a", 4, "/b/100k")]).stdout
        asked, head, body = map(int, said.split())
        self.await_that(lambda: len(ended()) == 3, 5, file.read_text)
        last = ended()[-1]
        self.assertEqual((last["octets_in"], last["octets_out"]), (asked, head + body))

    def _rotate(self, file: Path, running: Running) -> None:
        """
        Moved away and told so, it goes on in a new file.
        """
        moved = file.with_suffix(".1")
        file.rename(moved)
        running.told.clear()
        running.process.send_signal(signal.SIGHUP)
        running.await_told("RELOADING=1")
        running.await_told("READY=1")
        self.assertIn("changed: nothing", file.read_text())
        size = moved.stat().st_size
        self.get("a", "/a/1k")
        self.await_that(lambda: "/a/1k" in file.read_text(), 5, file.read_text)
        self.assertEqual(moved.stat().st_size, size)

    def test_nothing(self) -> None:
        """
        What is missing is named.
        """
        with self.daemon(*self.capable("net_raw"), datapath="ebpf") as running:
            self.assertEqual(running.process.wait(20), 1, self.output())
        self.assertIn("needs CAP_NET_ADMIN, CAP_BPF: start it as root", self.output())
        self.assert_nothing_left()
