# SPDX-License-Identifier: MIT
"""
Connections that the kernels hand to each other: who gets them, and what becomes of them when a
daemon, an origin or a link goes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

from btcp.lab.processes import end, recorded
from btcp.lab.topology import CLIENT, node_yaml, url
from tests.integration.standing import (
    ENDS,
    GUARD,
    OPENS,
    RESETS,
    WAITS,
    ClusterTestCase,
    early_resets,
    python,
)
from tests.modes import EXPRESS

_CONFIG: Mapping[str, object] = {
    "timeouts": {"linger": 1.0, "link-grace": 1.0, "restart-grace": 2.0},
    "control": {"insecure": True, "heartbeat": 0.5},
    "partition": [
        *({"path": f"/{node}/", "nodes": [node]} for node in "abc"),
        {"path": "/shared/", "nodes": ["a", "b", "c"]},
        {"path": "/shared/10m", "nodes": ["b", "c"]},
        {"host": "named.example", "path": "/shared/", "nodes": ["c"]},
        {"path": "/least/", "nodes": ["b", "c"], "policy": "least-loaded"},
    ],
    "log": {"format": "json"},
}
_SLACK = 3.0
_FACTS = ["-w", "%{stderr}%{http_code} %{exitcode} %{num_connects} %header{x-node}"]

# Connects, sends what it is told in as many pieces as it is told, prints the first line of the
# answer.
_PIECES = """
import socket, sys, time
connection = socket.create_connection((sys.argv[1], 80), 5)
connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
for piece in sys.argv[2:]:
    connection.sendall(piece.encode("latin-1").decode("unicode_escape").encode("latin-1"))
    time.sleep(0.05)
answer = b""
while b"\\r\\n\\r\\n" not in answer:
    some = connection.recv(65536)
    if not some:
        break
    answer += some
head = answer.decode("latin-1").split("\\r\\n")
node = [line[8:] for line in head if line.lower().startswith("x-node: ")]
print(head[0][9:12], *node)
"""


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


class ExpressTestCase(ClusterTestCase):
    mode = EXPRESS
    config: ClassVar[Mapping[str, object]] = _CONFIG

    def setUp(self) -> None:
        super().setUp()
        self.await_that(self._all_ready, 10, self.flows)
        self._before = {node: self.counters(node) for node in self.lab.nodes}

    def _all_ready(self) -> bool:
        """
        Every node hands connections to every other; the first second after a start the
        daemons do it.
        """
        for front in self.lab.nodes:
            before = self.counters(front)["ebpf.expressed"]
            regained = self.counters(front)["ebpf.regained"]
            for holder in self.lab.nodes:
                self.get(front, f"/{holder}/1k")
            counters = self.counters(front)
            if counters["ebpf.expressed"] - before != 3 or counters["ebpf.regained"] != regained:
                return False
        return True

    def get(self, front: str, path: str, *options: str, family: int = 4) -> tuple[bytes, str]:
        """
        @return: the body, and the node that it is from.
        """
        told = ["curl", "-s", "-m", "20", *options, "-w", "%{stderr}%header{x-node}"]
        done = self.lab.exec(CLIENT, [*told, url(front, family, path)])
        return done.stdout, done.stderr.decode()

    def pieces(self, *pieces: str, front: str = "a") -> str:
        """
        @return: status and node.
        """
        return self.python(_PIECES, self.lab.address(front, 4), *pieces).strip()

    def waiting(self, count: int, front: str, path: str) -> subprocess.Popen[bytes]:
        """
        So many downloads that have begun.
        """
        request = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"
        program = python(OPENS + WAITS, count, self.lab.address(front, 4), request, "answer")
        client = self.lab.popen(CLIENT, program)
        self.addCleanup(client.communicate)
        self.addCleanup(client.kill)
        assert client.stdout is not None
        self.assertEqual(client.stdout.readline(), b"open\n")
        return client

    def btcp(self, node: str, *words: str) -> subprocess.CompletedProcess[bytes]:
        command = str(Path(sys.executable).with_name("btcp"))
        socket = str(self.lab.home(node) / "btcp.sock")
        return self.lab.exec(node, [command, *words, "--socket", socket])

    def configure(self, changed: str, **settings: object) -> None:
        """
        Have node C{a} read another configuration, until the test is over.

        @param changed: key that it says has changed.
        """
        home, pid = self.lab.home("a"), self.lab.daemon_pid("a")
        assert pid is not None
        self.addCleanup(os.kill, pid, signal.SIGHUP)
        self.addCleanup((home / "node.yaml").write_text, (home / "node.yaml").read_text())
        text = node_yaml("a", home, "abc", {**self.lab.config, **settings})
        (home / "node.yaml").write_text(text)
        os.kill(pid, signal.SIGHUP)
        self.await_that(lambda: f"changed: {changed}" in self.logged("a"), 5, str)

    def records(self, node: str = "a") -> list[dict[str, Any]]:
        """
        Of connections, since the test began; without what no two have in common.
        """
        found = [json.loads(line) for line in self.logged(node).splitlines()]
        records = [each for each in found if each["logger"] == "btcp.connection"]
        for record in records:
            del record["time"], record["level"], record["logger"]
        return records

    def pause_origins(self, number: int, nodes: str = "abc") -> None:
        for node in nodes:
            master = self.lab.origin_pid(node)
            workers = Path(f"/proc/{master}/task/{master}/children").read_text().split()
            for pid in (master, *map(int, workers)):
                assert pid is not None
                os.kill(pid, number)

    def pause(self, node: str, number: int = signal.SIGSTOP) -> None:
        pid = self.lab.daemon_pid(node)
        assert pid is not None
        os.kill(pid, number)

    def established(self, node: str) -> int:
        """
        How many connections a node's own TCP has on the origin's port.
        """
        command = ["ss", "-Htn", "state", "established", "( sport = :8080 )"]
        return len(self.lab.exec(node, command).stdout.splitlines())

    def assert_no_flows(self, seconds: float) -> None:
        """
        As front-end or back-end, on every node that runs.
        """
        self.await_that(
            lambda: not any(sum(each.values()) for each in self.flows().values()),
            seconds,
            self.flows,
        )


class DecisionTests(ExpressTestCase):
    def test_every_way(self) -> None:
        """
        Each node's content through each front-end, over both versions of IP, is handed off by
        the kernel alone, and the origin sees the client.
        """
        for family in (4, 6):
            for front in self.lab.nodes:
                for holder in self.lab.nodes:
                    body, node = self.get(front, f"/{holder}/100k", "-H", "Host: x", family=family)
                    self.assertTrue(body == self.lab.content(f"/{holder}/100k"))
                    self.assertEqual(node, holder)
        for node in self.lab.nodes:
            moved = self.moved(node)
            counts = [moved[f"ebpf.{name}"] for name in ("expressed", "adopted", "declined")]
            self.assertEqual(counts, [6, 6, 0], moved)
            self.assertEqual(moved["handoff.sent"] + moved["handoff.local"], 0)
        self.assert_no_flows(1 + _SLACK)
        self.assert_sound()

    def test_turns(self) -> None:
        """
        What all nodes hold, each of them answers as often.
        """
        nodes = [self.get("b", "/shared/1k")[1] for _ in range(9)]
        self.assertEqual({node: nodes.count(node) for node in "abc"}, dict.fromkeys("abc", 3))
        self.assertEqual(self.moved("b")["ebpf.expressed"], 9)

    def test_host(self) -> None:
        for _ in range(3):
            body, node = self.get("a", "/shared/1k", "-H", "Host: NAMED.example:80")
            self.assertEqual((body, node), (self.lab.content("/shared/1k"), "c"))
        self.assertEqual(self.moved("a")["ebpf.expressed"], 3)

    def test_unusual(self) -> None:
        """
        What is the least bit unusual, the daemon decides, and its answer is what it always is.
        """
        host = r"\r\nHost: x\r\n\r\n"
        cases = {
            (rf"GET /%62/1k HTTP/1.1{host}",): "200 b",
            (rf"GET /c/../b/1k HTTP/1.1{host}",): "200 b",
            (rf"GET //b/1k HTTP/1.1{host}",): "200 b",
            (r"GET /b/1k HTTP/1.0\r\n\r\n",): "200 b",
            (r"GET /b/1k HT", rf"TP/1.1{host}"): "200 b",
            (r"GET /b/1k HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",): "400",
            (r"GET /b/1k HTTP/1.1\r\n\r\n",): "400",
            (rf"GET /nowhere HTTP/1.1{host}",): "404",
            (rf"OPTIONS * HTTP/1.1{host}",): "404",
        }
        for request, answer in cases.items():
            self.assertEqual(self.pieces(*request), answer, request)
        moved = self.moved("a")
        self.assertEqual(moved["ebpf.expressed"], 0)
        self.assertEqual(moved["ebpf.declined"], len(cases))

    def test_policy_of_requests(self) -> None:
        """
        Where each request is a case of its own, the daemon decides.
        """
        self.assertEqual(self.pieces(r"GET /least/x HTTP/1.1\r\nHost: x\r\n\r\n")[:3], "404")
        moved = self.moved("a")
        self.assertEqual((moved["ebpf.expressed"], moved["handoff.sent"]), (0, 1))

    def test_upload(self) -> None:
        """
        A request with a body: all of it arrives where its beginning went.
        """
        body = "@" + str(self.lab.state / "content" / "b" / "100k")
        options = ["-o", "/dev/null", "-w", "%{http_code}", "--data-binary", body]
        done = self.lab.exec(CLIENT, ["curl", "-s", "-m", "5", *options, url("a", 4, "/b/1k")])
        self.assertEqual(done.stdout, b"405")  # nginx takes no POST for a file
        moved = self.moved("a")
        self.assertEqual((moved["ebpf.expressed"], moved["handoff.sent"]), (1, 0))

    def test_another_map(self) -> None:
        """
        What is read again, holds at once.
        """
        moved = [{"path": "/shared/", "nodes": ["c"]}, {"path": "/b/", "nodes": ["b"]}]
        self.configure("partition", partition=moved)
        before = self.counters("a")["ebpf.expressed"]
        self.assertEqual({self.get("a", "/shared/1k")[1] for _ in range(6)}, {"c"})
        self.assertEqual(self.pieces(r"GET /a/1k HTTP/1.1\r\nHost: x\r\n\r\n"), "404")
        self.assertEqual(self.counters("a")["ebpf.expressed"] - before, 6)


class RecordTests(ExpressTestCase):
    """
    The front-end's log has of each connection what it would have if the daemon had decided.
    """

    def await_records(self, count: int, node: str = "a") -> list[dict[str, Any]]:
        self.await_that(lambda: len(self.records(node)) >= count, 3, lambda: self.records(node))
        return self.records(node)

    def setUp(self) -> None:
        super().setUp()
        time.sleep(0.5)  # for what is to be written of connections before
        self._logged = {node: self._log(node).stat().st_size for node in self.lab.nodes}

    def assert_both(self, holder: str, path: str, family: int, host: str, length: int) -> None:
        """
        A connection is handed off by the kernel, and both its records are right.

        @param host: as it is asked for.
        @param length: octets of the request.
        """
        options = ["-H", f"Host: {host}", "-H", "User-Agent:", "-H", "Accept:"]
        told = ["-o", "/dev/null", "-w", "%{local_port} %{size_header} %{size_download}"]
        before = self.counters("a")["ebpf.expressed"]
        command = ["curl", "-s", "-m", "20", *options, *told, url("a", family, path)]
        port, *sizes = map(int, self.lab.exec(CLIENT, command).stdout.split())
        self.assertEqual(self.counters("a")["ebpf.expressed"], before + 1)
        decision, ending = self.await_records(2)
        began = {
            "client": f"{_bracketed(self.lab.address(CLIENT, family))}:{port}",
            "front": f"{_bracketed(self.lab.address('a', family))}:80",
            "listener": "web",
            "method": "GET",
            "host": host.lower().partition(":")[0],
            "path": path,
            "rule": f"/{holder}/",
            "node": holder,
            "adoption": "cookie",
        }
        handed = {"event": "handed-off", "handoff_seconds": None, "seconds": 0.0}
        self.assertEqual(decision, handed | began)
        seconds = ending.pop("seconds")
        self.assertTrue(0 < seconds < 5, seconds)
        octets = {"octets_in": length, "octets_out": sum(sizes)}
        self.assertEqual(ending, {"event": "ended", "reason": "closed"} | began | octets)

    def test_both(self) -> None:
        """
        With another node and with itself, over both versions of IP.
        """
        for holder, path, family in product("ab", ("1k", "100k"), (4, 6)):
            self._logged["a"] = self._log("a").stat().st_size
            asked = f"/{holder}/{path}"
            length = len(f"GET {asked} HTTP/1.1\r\nHost: X.example:80\r\n\r\n")
            self.assert_both(holder, asked, family, "X.example:80", length)
        self.assertEqual([self.records(node) for node in "bc"], [[], []])
        self.assert_sound()

    def test_long_head(self) -> None:
        """
        All of the path is on record, as long as the kernel hands it off; and if the daemon does.
        """
        for size, expressed in ((1200, 1), (1500, 0)):
            self._logged["a"] = self._log("a").stat().st_size
            before = self.counters("a")["ebpf.expressed"]
            self.get("a", "/b/" + "x" * size)
            records = self.await_records(2)
            self.assertEqual(self.counters("a")["ebpf.expressed"] - before, expressed)
            paths = [record["path"] for record in records]
            self.assertEqual(paths, ["/b/" + "x" * size] * 2)

    def test_not_wanted(self) -> None:
        """
        C{errors} has neither record of a connection that was closed, C{off} has none of any.
        """
        for wanted in ("errors", "off"):
            self.configure("log.connections", log={"format": "json", "connections": wanted})
            for _ in range(3):
                self.get("a", "/b/1k")
            client = self.waiting(2, "a", "/b/10m")
            self._reset_waiting()
            client.communicate(timeout=GUARD)
            if wanted == "errors":
                records = self.await_records(2)
                known = {(each["event"], each["path"], each["reason"]) for each in records}
                self.assertEqual((len(records), known), (2, {("ended", "/b/10m", "abandoned")}))
            else:
                time.sleep(1.0)
                self.assertEqual(self.records(), [])
            self._logged["a"] = self._log("a").stat().st_size
        self.assertEqual(self.moved("a")["express.unrecorded"], 0)

    def _reset_waiting(self) -> None:
        rows = self.lab.query("a", "flows")["flows"]
        for row in rows:
            if row["state"] == "FORWARDING":
                self.btcp("a", "shutdown", "flow", row["client"])

    def test_back_end_resets(self) -> None:
        """
        The back-end's word says why.
        """
        client = self.waiting(1, "a", "/b/10m")
        self.lab.stop_daemon("b")
        client.communicate(timeout=GUARD)
        _, ending = self.await_records(2)
        known = [ending[name] for name in ("event", "node", "path", "reason")]
        self.assertEqual(known, ["ended", "b", "/b/10m", "stopping"])

    def test_dropped(self) -> None:
        """
        Records for which there was no room are counted, where an operator looks for trouble.
        """
        self.configure("limits.flows", limits={"flows": 1})
        self.waiting(3, "a", "/b/10m")
        self.await_that(lambda: self.moved("a")["express.unrecorded"] >= 2, 5, str)
        self.assertEqual([each["event"] for each in self.await_records(1)], ["handed-off"])
        said = self.btcp("a", "show", "errors")
        self.assertIn(b"express.unrecorded", said.stdout)


class OperatorTests(ExpressTestCase):
    """
    Connections of which the core knows nothing are seen and ended all the same.
    """

    def _rows(self, node: str) -> list[dict[str, object]]:
        return list(self.lab.query(node, "flows")["flows"])

    def test_shown_and_shut_down(self) -> None:
        self.await_that(lambda: not any(map(self._rows, self.lab.nodes)), 1 + _SLACK, str)
        running = [self.waiting(1, "a", f"/{holder}/10m") for holder in "ab"]
        self.await_that(lambda: len(self._rows("a")) == 3 and bool(self._rows("b")), 5, str)
        fronts = [row for row in self._rows("a") if row["role"] == "front"]
        self.assertEqual(sorted(str(row["node"]) for row in fronts), ["a", "b"])
        back = self._rows("b")[0]
        there = [back[key] for key in ("role", "listener", "node", "state")]
        self.assertEqual(there, ["back", "web", "a", "SPLICED"])
        self.assertIn(back["client"], [row["client"] for row in fronts])
        self.assertEqual(self.flows()["a"], {"front": 2, "back": 1})
        for row in fronts:
            done = self.btcp("a", "shutdown", "flow", str(row["client"]))
            self.assertEqual(done.returncode, 0)
        ends = [process.communicate(timeout=GUARD)[0].strip() for process in running]
        self.assertEqual(ends, [b"ECONNRESET", b"ECONNRESET"])
        self.assert_no_flows(1 + _SLACK)
        self.assertEqual(self.established("b"), 0)


class StopTests(ExpressTestCase):
    """
    A daemon stops: nobody waits for it.
    """

    def _stop(self, node: str, client: subprocess.Popen[bytes], count: int) -> None:
        self.lab.stop_daemon(node)
        ends = client.communicate(timeout=GUARD)[0].decode().split()
        self.assertEqual(ends, ["ECONNRESET"] * count)
        self.assert_no_flows(2 + _SLACK)
        for each in self.lab.nodes:
            self.await_that(lambda each=each: self.established(each) == 0, 2, str)  # type: ignore[misc]

    def test_front_end(self) -> None:
        self._stop("a", self.waiting(20, "a", "/b/10m"), 20)

    def test_back_end(self) -> None:
        self._stop("b", self.waiting(20, "a", "/b/10m"), 20)

    def test_both(self) -> None:
        self._stop("b", self.waiting(20, "b", "/b/10m"), 20)

    def _unanswered(self) -> tuple[subprocess.Popen[bytes], str]:
        """
        @return: a client that waits for an origin that is stopped, and the node that it is on;
            the origins of the others go on.
        """
        self.pause_origins(signal.SIGSTOP)
        self.addCleanup(self.pause_origins, signal.SIGCONT)
        target = url("a", 4, "/shared/10m")
        running = self.lab.popen(CLIENT, ["curl", "-s", "-m", "20", *_FACTS, target])
        self.addCleanup(running.communicate)
        self.addCleanup(running.kill)
        self.await_that(lambda: sum(self._adopted().values()) > 0, 5, self._adopted)
        asked = next(node for node, count in self._adopted().items() if count)
        self.pause_origins(signal.SIGCONT, "".join(set("abc") - {asked}))
        return running, asked

    def _adopted(self) -> dict[str, int]:
        return {node: self.moved(node)["ebpf.adopted"] for node in self.flows()}

    def _assert_moves_on(self, running: subprocess.Popen[bytes], asked: str) -> None:
        """
        Another node answers on the connection that the client has.
        """
        body, said = running.communicate(timeout=GUARD)
        answered = {"b": "c", "c": "b"}[asked]
        self.assertEqual(said.decode(), f"200 0 1 {answered}")
        self.assertTrue(body == self.lab.content("/shared/10m"))

    def test_request_moves_on(self) -> None:
        """
        A back-end that stops gives back what it has not begun to answer.  Its own TCP has it no
        more: what the origin says later would leave with the origin's own address.
        """
        running, asked = self._unanswered()
        self.lab.stop_daemon(asked)
        self.assertEqual(self.established(asked), 0)
        self._assert_moves_on(running, asked)

    def test_killed(self) -> None:
        """
        Or dies, and does not come back.
        """
        running, asked = self._unanswered()
        self.lab.stop_daemon(asked, signal.SIGKILL)
        self._assert_moves_on(running, asked)
        self.assertEqual(self.moved("a")["express.lost"], 1)

    def test_killed_after_it_began(self) -> None:
        """
        Who has begun to hear an answer is reset, once nobody is expected any more.
        """
        # Or connections of other tests count as lost, too.
        self.await_that(lambda: self.flows()["a"]["front"] == 0, GUARD, self.flows)
        client = self.waiting(5, "a", "/b/10m")
        self.lab.stop_daemon("b", signal.SIGKILL)
        ends = client.communicate(timeout=GUARD)[0].decode().split()
        self.assertEqual(ends, ["ECONNRESET"] * 5)
        self.assertEqual(self.moved("a")["express.lost"], 5)


class RefusalTests(ExpressTestCase):
    """
    A back-end does not take what it is handed; the client does not notice.
    """

    def test_origin_is_down(self) -> None:
        """
        Nothing listens there: the daemon hands off to somebody else, and no reset leaves.
        """
        self._close_origin()
        with self.lab.capture("b", RESETS, outgoing=True) as resets:
            nodes = {self.get("a", "/shared/10m")[1] for _ in range(4)}
        self.assertEqual(nodes, {"c"})
        read = subprocess.run(["tcpdump", "-nr", str(resets)], capture_output=True, check=True)
        self.assertEqual(read.stdout, b"")
        self.assertGreater(self.moved("b")["ebpf.returned"], 0)
        self.assertEqual(self.moved("a")["ebpf.regained"], self.moved("b")["ebpf.returned"])

    def test_own_origin_is_down(self) -> None:
        """
        Where front-end and back-end are one node, too.
        """
        self._close_origin()
        nodes = {self.get("b", "/shared/10m")[1] for _ in range(4)}
        self.assertEqual(nodes, {"c"})
        # The core hands these off, and has the word: of each one record.
        self.await_that(lambda: self._handed("b") == ["c"] * 4, 2, lambda: self.records("b"))

    def _handed(self, front: str) -> list[str]:
        """
        @return: the nodes that the test's connections were handed to, by the log.
        """
        ours = [each for each in self.records(front) if each.get("path") == "/shared/10m"]
        return [each["node"] for each in ours if each["event"] == "handed-off"]
        self.assertGreater(self.moved("b")["ebpf.returned"], 0)
        self.assertEqual(self.moved("b")["ebpf.regained"], self.moved("b")["ebpf.returned"])

    def _close_origin(self) -> None:
        self.addCleanup(self._listen_again)
        path = self.lab.home("b") / "nginx.pid"
        end(recorded([path], [self.lab.network.namespace("b")]), signal.SIGQUIT)

    def _listen_again(self) -> None:
        home = self.lab.home("b")
        command = ["nginx", "-p", str(home), "-e", f"{home}/error.log", "-c", f"{home}/nginx.conf"]
        self.assertEqual(self.lab.exec("b", command).returncode, 0)

    def test_daemon_is_silent(self) -> None:
        """
        A kernel whose daemon does nothing takes nothing once its daemon's word is over.
        """
        self.pause("b")
        self.addCleanup(self.pause, "b", signal.SIGCONT)
        time.sleep(1.0)
        nodes = {self.get("a", "/shared/10m")[1] for _ in range(3)}
        self.assertEqual(nodes, {"c"})


class FullTableTests(ExpressTestCase):
    config = {**_CONFIG, "limits": {"flows": 64, "half-open": 64}}

    def test_full(self) -> None:
        """
        The kernel takes no connection for which its table, with two entries for each, has no
        room: it goes back, and nobody waits for what was dropped.
        """
        begun = time.monotonic()
        self.waiting(120, "a", "/b/10m")
        self.assertLess(time.monotonic() - begun, 1.0)  # no client sent anything again
        self.assertGreater(self.moved("b")["ebpf.adopted"], 20)
        self.assertGreater(self.moved("b")["ebpf.returned"], 0)
        self.assertEqual(self.moved("b")["ebpf.odd"], 0)


_PORTS = {"a": "30000-30999", "c": "40000-40999"}
"""Of the downloads through each front-end: a back-end refuses a port that it has already from
another."""


class TakeoverTests(ExpressTestCase):
    def test_daemons_are_killed(self) -> None:
        """
        Downloads with 2 % of the packets lost each way, and both daemons killed in the middle
        and started again: every octet right, no reset.
        """
        self.lab.loss(2)
        self.addCleanup(self.lab.loss, 0)
        # What earlier tests left may still be reset: it is not of these ports.
        ports = " or ".join(f"portrange {ports}" for ports in _PORTS.values())
        with self.lab.capture(CLIENT, f"({ENDS}) and ({ports})") as ends:
            running = [
                self._download("ac"[number % 2], "bc"[number // 2 % 2]) for number in range(12)
            ]
            time.sleep(1)
            for node in "ab":
                self.lab.stop_daemon(node, signal.SIGKILL)
                time.sleep(0.5)
                self.lab.start_daemon(node)
            said = [process.communicate(timeout=60)[1].decode() for process in running]
        self.assertEqual([process.returncode for process in running], [0] * 12, said)
        self.assertEqual(early_resets(ends), [])
        self.lab.loss(0)
        self.assert_no_flows(15)
        self.assert_sound()

    def _download(self, front: str, holder: str) -> subprocess.Popen[bytes]:
        right = self.lab.state / "content" / holder / "10m"
        target = url(front, 4, f"/{holder}/10m")
        curl = f"curl -sS -m 60 --local-port {_PORTS[front]} '{target}'"
        return self.lab.popen(CLIENT, ["bash", "-o", "pipefail", "-c", f"{curl} | cmp - '{right}'"])
