# SPDX-License-Identifier: MIT
"""
What a client sees when a node, a daemon, an origin or a link fails.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import ClassVar

from attrs import frozen
from scapy.layers.inet import TCP
from scapy.layers.l2 import Ether
from scapy.utils import PcapReader

from btcp.lab.programs import run
from btcp.lab.topology import CLIENT, CONTROL_PORT, url
from tests.integration import slow_origin
from tests.integration.standing import RESETS, ClusterTestCase, python
from tests.modes import in_all_modes

_HEARTBEAT = 0.5
_GRACE = 1.0
_HANDOFF = 1.0
_DETECTION = 4 * _HEARTBEAT
"""Seconds until a link is dropped that carries nothing any more: three heartbeats
unanswered, and what is left of the one before."""

_HOLDS_GOOD = 3 * _HEARTBEAT
"""Seconds from an answered Ping for which a back-end may begin responses, see "Who may answer"
in docs/architecture.md."""

_SLACK = 1.0
"""Seconds for processes to start and for this machine to be busy with others."""

_SLOW_PORT = 81
_SLOW_ORIGIN = 8081

_CONFIG: Mapping[str, object] = {
    "listeners": {
        "web": {"port": 80, "origin": 8080},
        "slow": {"port": _SLOW_PORT, "origin": _SLOW_ORIGIN},
    },
    "partition": [
        *({"path": f"/{node}/", "nodes": [node]} for node in "abc"),
        {"path": "/shared/", "nodes": ["a", "b", "c"]},
        {"path": "/late/", "nodes": ["b", "c"]},
        {"path": "/drip/b", "nodes": ["b"]},
    ],
    "control": {"insecure": True, "heartbeat": _HEARTBEAT},
    "timeouts": {
        "handoff": _HANDOFF,
        "link-grace": _GRACE,
        "restart-grace": _GRACE,
        "linger": 1.0,
    },
}

_FACTS = "%{http_code} %{exitcode} %{time_total} %{num_connects} %header{x-node}"
_RESET = 56
"""What curl exits with when it receives no more."""

# Never accepts; says "full" when the kernel takes no more connections for it.
_FULL_QUEUE = """
import socket, sys, time
address, port = sys.argv[1], int(sys.argv[2])
listening = socket.create_server((address, port), backlog=0)
waiting = []
for _ in range(2):
    one = socket.socket()
    one.setblocking(False)
    one.connect_ex((address, port))
    waiting.append(one)
print("full", flush=True)
time.sleep(3600)
"""


@frozen
class Fetched:
    """
    What curl says of one request.

    @ivar status: 0 without an answer.
    @ivar exit: its exit status.
    @ivar seconds: it took.
    @ivar connects: connections it made.
    @ivar node: that answered.
    """

    status: int
    exit: int
    seconds: float
    connects: int
    node: str
    body: bytes


class Fetch:
    """
    A request on its way.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def wait(self, seconds: float) -> Fetched:
        """
        @raise subprocess.TimeoutExpired: if curl has not ended by then.
        """
        body, said = self._process.communicate(timeout=seconds)
        status, code, took, connects, *node = said.decode().split(" ")
        return Fetched(int(status), int(code), float(took), int(connects), "".join(node), body)

    def begun(self) -> bool:
        """
        Whether octets of the answer have come.
        """
        assert self._process.stdout is not None
        return bool(self._process.stdout.read(1))


def response(capture: Path) -> bytes:
    """
    What the last connection brought to the client, from the packets themselves.

    @raise AssertionError: if there is more than one initial sequence number, a reset, or
        data that contradicts other data.
    """
    port, initial, octets = 0, set[int](), dict[int, int]()
    with PcapReader(str(capture)) as packets:
        for packet in map(Ether, map(bytes, packets)):
            tcp = packet[TCP]
            if tcp.sport != _SLOW_PORT:
                continue
            assert not tcp.flags.R, "a reset"
            if tcp.flags.S and tcp.dport != port:
                port, initial, octets = tcp.dport, set(), {}
            if tcp.flags.S:
                initial.add(tcp.seq)
            if tcp.flags.S or tcp.dport != port:
                continue
            (first,) = initial
            start = (tcp.seq - first - 1) & 0xFFFFFFFF
            for at, octet in enumerate(_data(packet), start):
                assert octets.setdefault(at, octet) == octet, "other data in the same place"
    return bytes(octets[at] for at in range(len(octets)))


def _data(packet: Ether) -> bytes:
    # Ethernet pads short frames, so the payload's length is not the data's.
    network, tcp = packet.payload, packet[TCP]
    size = network.len - 4 * network.ihl if network.version == 4 else network.plen
    return bytes(tcp.payload)[: size - 4 * tcp.dataofs]


class FailureTestCase(ClusterTestCase):
    config: ClassVar[Mapping[str, object]] = _CONFIG
    family: ClassVar[int] = 4

    def start_origin(self, node: str, delay: float = 0.0) -> subprocess.Popen[bytes]:
        """
        An origin for the listener C{slow}.
        """
        ends = [word for f in (4, 6) for word in (self.lab.address(node, f), str(_SLOW_ORIGIN))]
        program = [sys.executable, slow_origin.__file__, node, str(delay), *ends]
        return self._start(node, program, b"ready\n")

    def fill_queue(self, node: str) -> None:
        """
        An origin for the listener C{slow} that accepts nothing and holds all it can.
        """
        program = python(_FULL_QUEUE, self.lab.address(node, 4), _SLOW_ORIGIN)
        self._start(node, [*program], b"full\n")

    def _start(self, node: str, program: list[str], word: bytes) -> subprocess.Popen[bytes]:
        process = self.lab.popen(node, program)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        assert process.stdout is not None
        self.assertEqual(process.stdout.readline(), word)
        return process

    def fetch(self, front: str, path: str, *options: str, port: int = _SLOW_PORT) -> Fetch:
        target = url(front, self.family, path, port)
        curl = ["curl", "-s", "-m", "30", "-w", "%{stderr}" + _FACTS, *options, target]
        return Fetch(self.lab.popen(CLIENT, curl))

    def node_of(self, front: str) -> str | None:
        """
        Which node has the front-end's one flow.
        """
        flows = self.lab.query(front, "flows")["flows"]
        nodes = [f["node"] for f in flows if f["role"] == "front" and f["state"] == "FORWARDING"]
        return nodes[0] if nodes else None

    def fetch_from(self, node: str, front: str, path: str) -> Fetch:
        """
        A request that the node has got and does not answer yet; others of the replica set
        answer soon.
        """
        for _ in range(2):
            fetch = self.fetch(front, path)
            deadline = time.monotonic() + _SLACK
            while time.monotonic() < deadline:
                if self.node_of(front) == node:
                    return fetch
            fetch.wait(5)
        self.fail(f"{node} was not asked")

    def cut(self, node: str) -> None:
        """
        Let nothing of the control channel in or out of a node.
        """
        rule = f"tcp dport {CONTROL_PORT} drop; tcp sport {CONTROL_PORT} drop;"
        chains = "".join(
            f"chain {hook} {{ type filter hook {hook} priority 0; {rule} }}\n"
            for hook in ("input", "output")
        )
        self.nft(node, f"table inet cut {{\n{chains}}}\n")
        self.addCleanup(self.mend, node)

    def mend(self, node: str) -> None:
        self.nft(node, "table inet cut { }\ndelete table inet cut\n")

    def nft(self, node: str, script: str) -> None:
        run(self.lab.command(node, ["nft", "-f", "-"]), script.encode())

    def pause(self, node: str) -> None:
        """
        Stop a daemon where it is.
        """
        pid = self.lab.daemon_pid(node)
        assert pid is not None
        self.addCleanup(self.resume, node)
        os.kill(pid, signal.SIGSTOP)

    def resume(self, node: str) -> None:
        pid = self.lab.daemon_pid(node)
        assert pid is not None
        os.kill(pid, signal.SIGCONT)

    def await_links(self) -> None:
        """
        Until all nodes are linked again.
        """
        self.await_that(
            lambda: all(
                peer["state"] == "up"
                for node in self.lab.nodes
                for peer in self.lab.query(node, "peers")["peers"]
            ),
            10,
            lambda: [self.lab.query(node, "peers") for node in self.lab.nodes],
        )

    def assert_answered(self, fetched: Fetched, node: str) -> None:
        """
        By this node, in full, on the one connection that the client made.
        """
        self.assertEqual((fetched.status, fetched.exit, fetched.connects), (200, 0, 1), fetched)
        self.assertEqual(fetched.node, node)
        self.assertEqual(fetched.body, slow_origin.BODY)

    def assert_one_response(self, capture: Path, node: str) -> None:
        stream = response(capture)
        self.assertEqual(stream.count(b"HTTP/1."), 1)
        self.assertIn(f"X-Node: {node}\r\n".encode(), stream)
        self.assertTrue(stream.endswith(b"\r\n\r\n" + slow_origin.BODY))

    def assert_counted(self, node: str, **least: int) -> None:
        """
        @param least: by counter, dots written C{__} and dashes C{_}.
        """
        moved = self.moved(node)
        for name, count in least.items():
            counter = name.replace("__", ".").replace("_", "-")
            self.assertGreaterEqual(moved[counter], count, (counter, moved))


@in_all_modes
class NobodyTests(FailureTestCase):
    def test_node_is_down(self) -> None:
        """
        The only node that holds it is not there: 503, from the front-end itself.
        """
        self.lab.stop_daemon("c")
        for front in "ab":
            fetched = self.fetch(front, "/c/1k", port=80).wait(5)
            self.assertEqual((fetched.status, fetched.exit), (503, 0))
            self.assertIn(b"no node that holds this can answer", fetched.body)
            self.assert_counted(front, rejected__no_live_node=1, answered__503=1)
            self.assertIn("503: no node that holds this can answer now", self.logged(front))

    def test_all_refuse(self) -> None:
        """
        All replicas refuse, for nothing listens there.
        """
        fetched = self.fetch("a", "/late/x").wait(5)
        self.assertEqual((fetched.status, fetched.exit), (503, 0))
        self.assert_counted("a", handoff__refused__no_listener=2, rejected__no_live_node=1)
        self.assertIn("refused 198.51.100.10:", self.logged("a"))


@in_all_modes
class RefusalTests(FailureTestCase):
    """
    One of two replicas refuses; the client does not notice.
    """

    def _ask_until_refused(self, counter: str) -> None:
        self.start_origin("c")
        for _ in range(2):
            with self.lab.capture(CLIENT, f"tcp port {_SLOW_PORT}") as capture:
                fetched = self.fetch("a", "/late/x").wait(5)
            self.assert_answered(fetched, "c")
            self.assert_one_response(capture, "c")
        moved = self.moved("a")
        self.assertEqual((moved[counter], moved["handoff.done"]), (1, 2), moved)
        self.assertIn("b refused 198.51.100.10:", self.logged("a"))

    def test_origin_is_down(self) -> None:
        """
        The back-end's TCP resets the replayed SYN; that reset stays on its host.
        """
        with self.lab.capture("b", RESETS, outgoing=True) as resets:
            self._ask_until_refused("handoff.refused.no-listener")
        read = subprocess.run(["tcpdump", "-nr", str(resets)], capture_output=True, check=True)
        self.assertEqual(read.stdout, b"")

    def test_accept_queue_is_full(self) -> None:
        """
        The back-end's TCP answers nothing; BTCP says so before the front-end's time is up.
        """
        self.fill_queue("b")
        self._ask_until_refused("handoff.refused.accept-queue-full")
        self.assertEqual(self.moved("a")["handoff.timeout"], 0)

    def test_daemon_is_silent(self) -> None:
        """
        No answer to the handoff in time: the next replica.  What the silent one does with
        the handoff later harms nobody.
        """
        self.start_origin("b")
        self.start_origin("c")
        while self.fetch("a", "/late/x").wait(5).node != "c":
            pass  # until it is the turn of b
        self.pause("b")
        with self.lab.capture(CLIENT, f"tcp port {_SLOW_PORT}") as capture:
            fetched = self.fetch("a", "/late/x").wait(5)
            self.resume("b")
            time.sleep(0.3)
        self.assert_answered(fetched, "c")
        self.assert_one_response(capture, "c")
        self.assertLess(fetched.seconds, _HANDOFF + _SLACK, (self.moved("a"), self.logged("a")))
        self.assert_counted("a", handoff__timeout=1)
        self.assertIn("b did not answer the handoff of 198.51.100.10:", self.logged("a"))
        # It reads the handoff and its withdrawal at once, or begins the one before the other.
        moved = self.moved("b")
        self.assertEqual(moved["adopt.aborted.abandoned"] + moved["control.withdrawn"], 1, moved)
        self.assert_tables_empty(5)


@in_all_modes
class BackEndLossTests(FailureTestCase):
    family = 6

    def setUp(self) -> None:
        super().setUp()
        self.await_links()

    def _lose_before_answer(self, lose: partial[None], seconds: float) -> None:
        self.start_origin("b", 20)
        self.start_origin("c", 0.2)
        fetch = self.fetch_from("b", "a", "/late/x")
        lost = time.monotonic()
        lose()
        fetched = fetch.wait(20)
        took = time.monotonic() - lost
        self.assert_answered(fetched, "c")
        self.assertLess(took, seconds + _SLACK)
        self.assert_counted("a", handoff__moved_on=1)
        self.assertIn("link to b was down for too long: its flows are lost", self.logged("a"))

    def test_killed_before_answer(self) -> None:
        """
        Another replica answers on the same connection.
        """
        self._lose_before_answer(partial(self.lab.stop_daemon, "b", signal.SIGKILL), _GRACE)

    def test_cut_off_before_answer(self) -> None:
        """
        As well if only the control link is lost: the back-end keeps its answer to itself.
        """
        self._lose_before_answer(partial(self.cut, "b"), _DETECTION + _GRACE)
        self.assert_counted("b", adopt__aborted__link_lost=1)

    def test_stalled_before_answer(self) -> None:
        """
        A daemon that was stopped for long, and given up, finds its origin's answer when it
        goes on; it must not send it, for another node is about to answer.
        """
        # The kernel sends what comes while its daemon's word holds good.
        self.start_origin("b", _HOLDS_GOOD + 0.7 if self.mode.in_kernel else 0.5)
        self.start_origin("c", 1.5)
        with self.lab.capture(CLIENT, f"tcp src port {_SLOW_PORT}") as capture:
            fetch = self.fetch_from("b", "a", "/late/x")
            self.pause("b")
            # so that its packets come before the news from its links
            other = self.lab.popen(CLIENT, ["curl", "-s", "-m", "1", url("b", 4, "/b/1k")])
            self.await_that(
                lambda: self.moved("a")["handoff.moved-on"] > 0, _DETECTION + _GRACE + _SLACK, str
            )
            self.resume("b")
            fetched = fetch.wait(5)
        other.communicate()
        self.assert_answered(fetched, "c")
        self.assert_one_response(capture, "c")
        self.assert_counted("b", adopt__held=1)

    def _lose_after_answer(self, lose: partial[None], seconds: float) -> None:
        self.start_origin("b")
        fetch = self.fetch("a", "/drip/b")
        self.assertTrue(fetch.begun())
        lost = time.monotonic()
        lose()
        fetched = fetch.wait(20)
        took = time.monotonic() - lost
        self.assertEqual((fetched.status, fetched.exit), (200, _RESET))
        self.assertLess(took, seconds + _SLACK)
        # The back-end may be the first to know and tell the client.
        self.await_that(lambda: "link-lost" in self.logged("a"), _HEARTBEAT + _SLACK, str)
        self.assert_counted("a", ended__link_lost=1)

    def test_killed_after_answer_began(self) -> None:
        """
        A reset, soon: nobody can go on where it stopped.
        """
        self._lose_after_answer(partial(self.lab.stop_daemon, "b", signal.SIGKILL), _GRACE)

    def test_cut_off_after_answer_began(self) -> None:
        self._lose_after_answer(partial(self.cut, "b"), _DETECTION + _GRACE)
        self.mend("b")
        self.await_links()
        self.assert_tables_empty(5)


@in_all_modes
class FrontEndLossTests(FailureTestCase):
    def test_killed_after_answer_began(self) -> None:
        """
        The back-end resets the client in the front-end's name.
        """
        self.start_origin("b")
        fetch = self.fetch("a", "/drip/b")
        self.assertTrue(fetch.begun())
        lost = time.monotonic()
        self.lab.stop_daemon("a", signal.SIGKILL)
        fetched = fetch.wait(20)
        self.assertEqual((fetched.status, fetched.exit), (200, _RESET))
        self.assertLess(time.monotonic() - lost, _GRACE + _SLACK)
        self.assert_counted("b", adopt__aborted__link_lost=1)


_PATIENT: Mapping[str, object] = {
    **_CONFIG,
    "timeouts": {"handoff": _HANDOFF, "link-grace": 20, "restart-grace": 20, "linger": 1.0},
}
"""With more time than a daemon takes to start on a busy machine."""


@in_all_modes
class RestartTests(FailureTestCase):
    """
    A daemon is killed and started again before its peers give its flows up.  With the eBPF
    datapath the next daemon takes the flows over; with the raw one it knows nothing of them.
    """

    config: ClassVar[Mapping[str, object]] = _PATIENT

    def _restart(self, node: str) -> Fetch:
        self.await_links()
        self.start_origin("b", 4)
        self.start_origin("c")
        fetch = self.fetch_from("b", "a", "/late/x")
        self.lab.stop_daemon(node, signal.SIGKILL)
        self.lab.start_daemon(node)
        return fetch

    def test_back_end_restarts_before_answer(self) -> None:
        """
        If the back-end has forgotten the flow, the front-end does not wait, and another answers.
        """
        fetched = self._restart("b").wait(30)
        self.assert_answered(fetched, "b" if self.mode.in_kernel else "c")

    def test_front_end_restarts_before_answer(self) -> None:
        """
        If the front-end has forgotten the flow, the client has nothing to repeat and would wait
        for ever; it is reset as soon as the front-end is back.
        """
        fetched = self._restart("a").wait(30)
        if self.mode.in_kernel:
            self.assert_answered(fetched, "b")
        else:
            self.assertEqual((fetched.status, fetched.exit), (0, _RESET))


@in_all_modes
class LinkTests(FailureTestCase):
    def test_two_nodes_restart_at_once(self) -> None:
        """
        The links come back by themselves and every node serves what every other holds.
        """
        for node in "bc":
            self.lab.stop_daemon(node, signal.SIGKILL)
        self.lab.start_daemon("b", "c")
        self.await_links()
        for front in "abc":
            for node in "abc":
                fetched = self.fetch(front, f"/{node}/1k", port=80).wait(5)
                self.assertEqual((fetched.status, fetched.node), (200, node))
        self.assert_sound()

    def _downloads(self) -> list[tuple[str, Fetch]]:
        pairs = [(front, node) for front in "abc" for node in "abc"]
        return [
            (node, self.fetch(front, f"/{node}/10m", "--limit-rate", "6M", port=80))
            for front, node in pairs
        ]

    def _assert_survived(self, downloads: list[tuple[str, Fetch]]) -> None:
        for node, fetch in downloads:
            fetched = fetch.wait(20)
            self.assertEqual((fetched.status, fetched.exit), (200, 0))
            self.assertEqual(fetched.body, self.lab.content(f"/{node}/10m"))

    def test_short_silence_of_a_link(self) -> None:
        """
        Downloads go on while the control channel is cut for less than it takes to notice.
        """
        downloads = self._downloads()
        self.cut("b")
        time.sleep(_HEARTBEAT)
        self.mend("b")
        self._assert_survived(downloads)
        self.assertEqual(self.moved("a")["control.heartbeat-lost"], 0)

    def test_link_lost_and_back(self) -> None:
        """
        Downloads go on while a link is lost for less than C{link-grace}.
        """
        downloads = self._downloads()
        time.sleep(0.3)
        ports = f"( sport = :{CONTROL_PORT} or dport = :{CONTROL_PORT} )"
        killed = self.lab.exec("b", ["ss", "-K", "-t", ports])
        self.assertEqual(killed.returncode, 0, killed.stderr)
        self._assert_survived(downloads)
        self.assertIn("link to b lost", self.logged("a"))
        self.assertNotIn("its flows are lost", self.logged("a"))
        self.await_links()
        self.assert_tables_empty(5)
        self.assert_sound()
