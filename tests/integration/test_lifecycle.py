# SPDX-License-Identifier: MIT
"""
C{twistd btcp} comes, goes, crashes and refuses to come.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, ClassVar

import yaml

import btcp
from btcp.lab.topology import CLIENT, node_yaml, url
from tests.integration.standing import GUARD, OPENS, WAITS, ClusterTestCase, python
from tests.modes import in_all_modes
from tests.scratch import short_directory

_CONFIG: Mapping[str, object] = {
    "timeouts": {"linger": 1.0},
    "partition": [
        *({"path": f"/{node}/", "nodes": [node]} for node in "abc"),
        {"path": "/shared/", "nodes": ["b", "c"]},
    ],
}

_CODE = Path(btcp.__file__).parents[1]
_NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
_TABLE = "table netdev btcp"
_PROGRAMS = ("btcp_ingress", "btcp_egress")
_DEVICE = "btcp0"

# Reads so slowly that 10 MB take many seconds.
_READS = """
for connection in connections:
    connection.setblocking(False)
while connections:
    for connection in list(connections):
        try:
            if connection.recv(4096):
                continue
            print("EOF")
        except BlockingIOError:
            continue
        except OSError as error:
            print(errno.errorcode[error.errno])
        connections.remove(connection)
    time.sleep(0.005)
"""

_SQUATTER = """
import socket, sys, time
listening = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("listening", flush=True)
time.sleep(60)
"""


class LifecycleTestCase(ClusterTestCase):
    config: ClassVar[Mapping[str, object]] = _CONFIG

    def setUp(self) -> None:
        super().setUp()
        self.scratch = short_directory(self)

    def tables(self, node: str) -> str:
        """
        What is in a node's packet filter.
        """
        return self.lab.exec(node, ["nft", "list", "tables"]).stdout.decode()

    def devices(self, node: str) -> str:
        return self.lab.exec(node, ["ip", "-o", "link"]).stdout.decode()

    def hooked(self, node: str) -> list[str]:
        """
        What keeps a node's TCP from hearing of the clients.
        """
        shown = ["tc qdisc show dev eth0"]
        shown += [f"tc filter show dev eth0 {direction}" for direction in ("ingress", "egress")]
        said = "".join(self.lab.exec(node, words.split()).stdout.decode() for words in shown)
        programs = [name for name in _PROGRAMS if f" name {name} " in said]
        self.assertEqual(bool(programs), "clsact" in said, said)
        return [*[_TABLE] * self.tables(node).count(_TABLE), *programs]

    def assert_hooked(self, node: str) -> None:
        """
        By what its datapath has, once, and by nothing else.
        """
        right = list(_PROGRAMS) if self.mode.in_kernel else [_TABLE]
        self.assertEqual(self.hooked(node), right)

    def assert_nothing_left(self, node: str) -> None:
        self.assertEqual(self.tables(node), "")
        self.assertEqual(self.hooked(node), [])
        self.assertNotIn(_DEVICE, self.devices(node))

    def configure(self, **overrides: object) -> Path:
        """
        @return: a configuration of node C{a} with other values for some keys.
        """
        path = self.scratch / "node.yaml"
        path.write_text(node_yaml("a", self.scratch, "abc", {**self.lab.config, **overrides}))
        return path

    def twistd(
        self, node: str, config: Path, *options: str, before: list[str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """
        Start a daemon on a node as an administrator would.
        """
        program = str(Path(sys.executable).with_name("twistd"))
        files = [f"--{kind}={self.scratch / kind}" for kind in ("pidfile", "logfile")]
        command = [program, f"--rundir={self.scratch}", *files, "btcp", "-c", str(config)]
        environment = ["env", f"PYTHONPATH={_CODE}"]
        return self.lab.exec(node, [*environment, *(before or []), *command, *options])

    def assert_refused(self, done: subprocess.CompletedProcess[bytes], reason: str) -> None:
        """
        With one line on standard error, and nothing left behind.
        """
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr.decode().strip(), f"btcp: {reason}")
        self.assertEqual(done.stdout, b"")


@in_all_modes
class StopTests(LifecycleTestCase):
    def test_everything_is_undone(self) -> None:
        """
        The table, the device, the control port, the management socket; and the next start
        finds nothing of an earlier one.
        """
        self.assert_hooked("a")
        self.assertIn(_DEVICE, self.devices("a"))
        self.lab.stop_daemon("a")
        self.assert_nothing_left("a")
        listening = self.lab.exec("a", ["ss", "-Hltn"]).stdout.decode()
        self.assertNotIn(":7311", listening)
        self.assertEqual(self.lab.exec("a", ["ss", "-H0w"]).stdout, b"")
        self.assertFalse((self.lab.home("a") / "btcp.sock").exists())
        self.assertFalse((self.lab.home("a") / "twistd.pid").exists())
        self.lab.start_daemon("a")
        self.assertNotIn("crash", self.logged("a"))
        self.assertNotIn("Traceback", self.logged("a"))

    def test_crash_is_cleaned_up(self) -> None:
        """
        After C{kill -9} the host is guarded still; the next start has its own guard instead.
        """
        self.lab.stop_daemon("a", signal.SIGKILL)
        self.assert_hooked("a")
        self.assertNotIn(_DEVICE, self.devices("a"))
        silent = self.lab.exec(CLIENT, ["curl", "-s", "-m", "1", url("a", 4, "/a/1k")])
        self.assertEqual(silent.returncode, 28)  # a timeout, not a refusal
        self.lab.start_daemon("a")
        if not self.mode.in_kernel:
            self.assertIn("removing the packet filter table of a crashed daemon", self.logged("a"))
        self.assert_hooked("a")
        answered = self.lab.exec(CLIENT, ["curl", "-s", "-m", "2", url("a", 4, "/b/1k")])
        self.assertEqual(answered.stdout, self.lab.content("/b/1k"))

    def _connect(
        self, count: int, front: str, request: str, wait: str = "answer", then: str = WAITS
    ) -> subprocess.Popen[bytes]:
        """
        As many connections as that, all of which have come so far.
        """
        address = self.lab.address(front, 4)
        program = python(OPENS + then, count, address, request, wait)
        client = self.lab.popen(CLIENT, program)
        self.addCleanup(client.communicate)
        self.addCleanup(client.kill)
        assert client.stdout is not None
        self.assertEqual(client.stdout.readline(), b"open\n")
        return client

    def _download(
        self, count: int, front: str, holder: str, then: str = WAITS
    ) -> subprocess.Popen[bytes]:
        request = f"GET /{holder}/10m HTTP/1.1\r\nHost: x\r\n\r\n"
        return self._connect(count, front, request, then=then)

    def _stop_under(self, node: str, client: subprocess.Popen[bytes], count: int) -> None:
        """
        The node ends soon, its clients' connections as soon, and it leaves nothing.
        """
        self.lab.stop_daemon(node)
        ends = client.communicate(timeout=GUARD)[0].decode().split()
        self.assertEqual(ends, ["ECONNRESET"] * count)
        self.assert_nothing_left(node)

    def test_front_end_stops(self) -> None:
        """
        50 downloads through it: it ends at once, clients and back-end know at once.
        """
        self._stop_under("a", self._download(50, "a", "b"), 50)
        self.assertEqual(self.moved("b")["adopt.aborted.abandoned"], 50)
        self.assert_tables_empty()

    def test_back_end_stops(self) -> None:
        """
        50 downloads from it: as above.
        """
        self._stop_under("b", self._download(50, "a", "b"), 50)
        self.assertEqual(self.moved("a")["ended.stopping"], 50)
        self.assert_tables_empty()

    def test_node_that_is_both_stops(self) -> None:
        self._stop_under("b", self._download(20, "b", "b"), 20)

    def test_front_end_stops_while_clients_read(self) -> None:
        """
        What the back-end sends until it hears of it changes the number that clients believe.
        """
        self._stop_under("a", self._download(50, "a", "b", _READS), 50)
        self.assert_tables_empty()

    def test_back_end_stops_while_clients_read(self) -> None:
        self._stop_under("b", self._download(50, "a", "b", _READS), 50)
        self.assert_tables_empty()

    def test_node_that_is_both_stops_while_clients_read(self) -> None:
        self._stop_under("b", self._download(20, "b", "b", _READS), 20)

    def test_half_requests_are_reset(self) -> None:
        """
        Connections whose request is not complete.
        """
        self._stop_under("a", self._connect(20, "a", "GET /a/1k HTTP/1.1\r\nHost:", "no"), 20)

    def test_request_moves_on_when_its_node_stops(self) -> None:
        """
        A back-end that has not begun to answer gives the request back.
        """
        self._pause_origins(signal.SIGSTOP)
        self.addCleanup(self._pause_origins, signal.SIGCONT)
        target = url("a", 4, "/shared/1k")
        facts = ["-w", "%{stderr}%header{x-node} %{num_connects}"]
        running = self.lab.popen(CLIENT, ["curl", "-s", "-m", "20", *facts, target])
        self.await_that(lambda: self._asked() is not None, 5, self.flows)
        asked = self._asked()
        assert asked is not None
        for node in set(self.lab.nodes) - {asked}:
            self._signal_origin(node, signal.SIGCONT)
        self.lab.stop_daemon(asked)
        body, said = running.communicate(timeout=GUARD)
        answered, connects = said.decode().split()
        self.assertEqual(body, self.lab.content("/shared/1k"))
        self.assertEqual(connects, "1")
        self.assertNotEqual(answered, asked)
        self.assertEqual(self.moved("a")["handoff.moved-on"], 1)

    def _asked(self) -> str | None:
        """
        Which node has the one flow of front-end C{a}.
        """
        flows: list[dict[str, Any]] = self.lab.query("a", "flows")["flows"]
        nodes = [f["node"] for f in flows if f["role"] == "front" and f["state"] == "FORWARDING"]
        return nodes[0] if nodes else None

    def _pause_origins(self, number: int) -> None:
        for node in self.lab.nodes:
            self._signal_origin(node, number)

    def _signal_origin(self, node: str, number: int) -> None:
        master = self.lab.origin_pid(node)
        workers = Path(f"/proc/{master}/task/{master}/children").read_text().split()
        for pid in (master, *map(int, workers)):
            assert pid is not None
            os.kill(pid, number)


class RefusalTests(LifecycleTestCase):
    """
    A daemon that cannot work does not start, says why in one line, and leaves the host alone.
    That is found before the datapath is there: one mode will do.
    """

    def setUp(self) -> None:
        super().setUp()
        if self.lab.daemon_pid("a") is not None:
            self.lab.stop_daemon("a")

    def tearDown(self) -> None:
        self.assert_nothing_left("a")

    def test_address_of_another_host(self) -> None:
        done = self.twistd("a", self.configure(), "--node", "b")
        wanted = self.lab.address("b", 4)
        reason = f"no network device has the address {wanted}; is this the right node?"
        self.assert_refused(done, reason)

    def test_no_such_address_of_the_other_family(self) -> None:
        nodes = yaml.safe_load(self.configure().read_text())["nodes"]
        nodes["a"]["addresses"][1] = "2001:db8:2::99"
        done = self.twistd("a", self.configure(nodes=nodes))
        reason = "no network device has the address 2001:db8:2::99; is this the right node?"
        self.assert_refused(done, reason)

    def test_no_such_device(self) -> None:
        done = self.twistd("a", self.configure(device="eth7"))
        self.assert_refused(done, "device eth7: No such device")

    def test_device_without_ethernet(self) -> None:
        done = self.twistd("a", self.configure(device="lo"))
        self.assert_refused(done, "device lo is not an Ethernet device")

    def test_strict_source_check(self) -> None:
        name = "net.ipv4.conf.all.rp_filter"
        old = self.lab.exec("a", ["sysctl", "-n", name]).stdout.decode().strip()
        self.lab.exec("a", ["sysctl", "-q", f"{name}=1"])
        self.addCleanup(self.lab.exec, "a", ["sysctl", "-q", f"{name}={old}"])
        done = self.twistd("a", self.configure())
        self.assertEqual(done.returncode, 1)
        (line,) = done.stderr.decode().splitlines()
        self.assertTrue(line.startswith(f"btcp: {name} is 1 (strict): "), line)
        self.assertIn("set it to 2 (loose) or 0", line)

    def test_not_root(self) -> None:
        config = self.configure()
        with NamedTemporaryFile() as readable:
            readable.write(config.read_bytes())
            readable.flush()
            os.chmod(readable.name, 0o644)
            done = self.twistd("a", Path(readable.name), before=_NOBODY)
        self.assertEqual(done.returncode, 1)
        (*_, last) = done.stdout.decode().strip().splitlines()
        self.assertIn("needs CAP_NET_ADMIN, CAP_NET_RAW: start it as root", last)

    def test_control_port_is_taken(self) -> None:
        """
        Found only once the daemon has begun to start: all is undone.
        """
        other = self.lab.popen("a", python(_SQUATTER, self.lab.address("a", 4), 7311))
        self.addCleanup(other.communicate)
        self.addCleanup(other.kill)
        assert other.stdout is not None
        other.stdout.readline()
        done = self.twistd("a", self.configure())
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"Couldn't listen on 192.0.2.11:7311", done.stderr)

    def test_mistakes_in_the_configuration(self) -> None:
        """
        All at once, each with file and line, from the daemon and from C{btcp check} alike.
        """
        listeners = {"web": {"port": 80, "origin": "eighty"}}
        config = self.configure(listeners=listeners, control={"insecure": "maybe"})
        lines = config.read_text().splitlines()
        numbers = [1 + at for at, line in enumerate(lines) if "eighty" in line or "maybe" in line]
        done = self.twistd("a", config)
        self.assertEqual(done.returncode, 1)
        check = [sys.executable, "-m", "btcp.cli", "check", str(config)]
        checked = subprocess.run(check, capture_output=True, cwd=_CODE)
        self.assertEqual(checked.returncode, 1)
        keys = ("listeners.web.origin", "control.insecure")
        for said in (done.stdout, checked.stderr):
            for number, key in zip(numbers, keys, strict=True):
                self.assertIn(f"{config}:{number}: {key}: want ".encode(), said)

    def test_check(self) -> None:
        config = self.configure()
        check = [sys.executable, "-m", "btcp.cli", "check", str(config)]
        checked = subprocess.run(check, capture_output=True, cwd=_CODE)
        self.assertEqual((checked.returncode, checked.stderr), (0, b""))
        self.assertIn(b"node a of a, b, c", checked.stdout)

    def test_no_such_file(self) -> None:
        done = self.twistd("a", self.scratch / "absent.yaml")
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"absent.yaml: can not be read", done.stdout)


@in_all_modes
class SecondStartTests(LifecycleTestCase):
    def test_second_daemon(self) -> None:
        """
        It is told that one runs, and that one goes on.
        """
        done = self.twistd("a", self.configure())
        self.assert_refused(done, f"device {_DEVICE} is in use: is btcp running?")
        self.assert_hooked("a")
        answered = self.lab.exec(CLIENT, ["curl", "-s", "-m", "2", url("a", 4, "/b/1k")])
        self.assertEqual(answered.stdout, self.lab.content("/b/1k"))
        self.assert_sound()
