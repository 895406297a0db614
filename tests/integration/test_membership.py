# SPDX-License-Identifier: MIT
"""
Nodes are drained and made ready, origins stop and start, while clients load the cluster.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from btcp.cluster.state import Admin
from btcp.lab.processes import end, recorded
from btcp.lab.topology import CLIENT, ROUTER, addresses, url
from tests.amounts import amount
from tests.integration import deciding
from tests.integration.standing import RESETS, ClusterTestCase
from tests.modes import EXPRESS

_PREFIX = "member"
_CYCLES = amount(10, 3)
_HEARTBEAT = 0.5
_SPREAD = 2.0
"""Seconds until every node knows; it takes a few milliseconds, and the machine has other
things to do."""
_QUIET = 0.2
"""Seconds in which a drained node must get nothing new."""

_KEEP = ["wrk", "-t1", "-c8", "-d120"]
_CLOSE = [*_KEEP, "-H", "Connection: close"]

_RAW: Mapping[str, object] = {
    "datapath": "raw",
    "adoption": "replay",
    "nodes": deciding.nodes(),
    "control": {"insecure": True, "heartbeat": _HEARTBEAT},
}
_KERNEL: Mapping[str, object] = {**_RAW, "datapath": "ebpf", "adoption": "cookie"}
_EXPRESS: Mapping[str, object] = {**_KERNEL, "express": True}

_CHECK = {"interval": 0.4, "fast-interval": 0.1, "timeout": 0.5, "rise": 2, "fall": 2}
_HTTP: Mapping[str, object] = {
    "listeners": {
        "web": {
            "port": 80,
            "origin": 8080,
            "health": {"kind": "http", "path": "/shared/1k", "status": 200, **_CHECK},
        }
    },
}
_HANDOFF: Mapping[str, object] = {
    "listeners": {
        "web": {
            "port": 80,
            "origin": 8080,
            "health": {
                "kind": "handoff",
                "client": addresses(ROUTER)[0],
                "path": "/shared/1k",
                **_CHECK,
            },
        }
    },
}


def resets_of_client() -> str:
    """
    @return: a filter for resets that the client receives.
    """
    v4, v6 = addresses(CLIENT)
    return f"(dst host {v4} or dst host {v6}) and ({RESETS})"


class MembershipTestCase(ClusterTestCase):
    prefix: ClassVar[str] = _PREFIX

    def rows(self, node: str) -> dict[str, dict[str, Any]]:
        """
        How all nodes are, as C{node} sees it.
        """
        return {row["node"]: row for row in self.lab.query(node, "nodes")["nodes"]}

    def await_all(self, about: str, seconds: float, but: str = "", **wanted: object) -> None:
        """
        Until every node, C{but} one, sees C{about} so.
        """

        def seen() -> list[dict[str, object]]:
            return [
                {key: self.rows(node)[about][key] for key in wanted}
                for node in self.lab.nodes
                if node != but
            ]

        self.await_that(lambda: all(each == wanted for each in seen()), seconds, seen)

    @contextmanager
    def load(self, *commands: list[str], fronts: str) -> Iterator[None]:
        """
        Clients that ask for what all nodes hold, without any failure.

        @param fronts: a node for each of C{commands}.
        """
        running = [
            self.lab.popen(CLIENT, [*command, url(front, 4, "/shared/1k")])
            for front, command in zip(fronts, commands, strict=True)
        ]
        try:
            time.sleep(0.5)
            yield
        finally:
            for process in running:
                process.send_signal(signal.SIGINT)
            said = [process.communicate(timeout=20)[0].decode() for process in running]
        for each in said:
            self.assertNotIn("Socket errors", each)
            self.assertNotIn("Non-2xx", each)
            self.assertRegex(each, r"[1-9][0-9]* requests in")


class DecidedTestCase(MembershipTestCase):
    """
    A cluster, and somebody who says what operators want.
    """

    def setUp(self) -> None:
        super().setUp()
        self.deciding = deciding.Deciding(self.lab, self.config)
        self.addCleanup(self.deciding.end)

    def say(self, node: str, state: Admin) -> None:
        self.deciding.say(node, state)
        self.await_all(node, _SPREAD, admin=state.value)

    def begun(self, node: str) -> int:
        return self.counters(node)["adopt.begun"]


class DrainTests(DecidedTestCase):
    """
    No request fails because of it.
    """

    config: ClassVar[Mapping[str, object]] = _RAW

    def test_cycles_under_load(self) -> None:
        """
        Several times each node: nothing new while it is drained, and soon after it is ready again.
        """
        load = self.load(_KEEP, _CLOSE, fronts="ab")
        with load, self.lab.capture(CLIENT, resets_of_client()) as resets:
            for _ in range(_CYCLES):
                for node in self.lab.nodes:
                    self._cycle(node)
        read = subprocess.run(["tcpdump", "-nr", str(resets)], capture_output=True, check=True)
        self.assertEqual(read.stdout, b"")
        self.assert_tables_empty(5)
        self.assert_sound()

    def _cycle(self, node: str) -> None:
        self.say(node, Admin.DRAIN)
        before = self.begun(node)
        time.sleep(_QUIET)
        self.assertEqual(self.begun(node), before)
        self.say(node, Admin.READY)
        before = self.begun(node)
        self.await_that(lambda: self.begun(node) > before, _SPREAD, lambda: self.rows(node))

    def test_drained(self) -> None:
        """
        What is under way is finished, and then known to be.
        """
        download = ["curl", "-sS", "--limit-rate", "8m", "-o", "/dev/null", url("a", 4, "/b/10m")]
        running = self.lab.popen(CLIENT, download)
        self.await_that(lambda: self.flows()["b"]["back"] == 1, _SPREAD, self.flows)
        self.say("b", Admin.DRAIN)
        self.assertFalse(self.rows("a")["b"]["drained"])
        self.assertEqual(running.wait(10), 0)
        self.await_all("b", 2.0 + 2 * _HEARTBEAT + _SPREAD, drained=True)
        refused = self.lab.exec(CLIENT, ["curl", "-s", "-w", "%{http_code}", url("a", 4, "/b/1k")])
        self.assertTrue(refused.stdout.endswith(b"503"), refused.stdout)
        self.say("b", Admin.READY)
        answered = self.lab.exec(CLIENT, ["curl", "-s", url("a", 4, "/b/1k")])
        self.assertEqual(answered.stdout, self.lab.content("/b/1k"))

    def test_rolling_restart(self) -> None:
        """
        Two daemons are drained, restarted and made ready, one after the other: the clients of
        the third notice nothing.
        """
        with self.load(_CLOSE, fronts="a"):
            for node in "bc":
                self.say(node, Admin.DRAIN)
                self.await_all(node, 2.0 + 2 * _HEARTBEAT + _SPREAD, drained=True)
                self.lab.stop_daemon(node)
                self.lab.start_daemon(node)
                self.await_all(node, _SPREAD, but=node, admin="drain", link="up")
                self.say(node, Admin.READY)
                self.await_that(lambda node=node: self.begun(node) > 0, _SPREAD, self.flows)  # type: ignore[misc]

    def test_restart_remembers(self) -> None:
        """
        A drained node that is restarted is drained still, and the others know; one that was
        away learns what it missed.
        """
        self.say("b", Admin.MAINT)
        self.lab.stop_daemon("b")
        self.lab.stop_daemon("c")
        self.deciding.say("a", Admin.DRAIN)
        self.await_that(
            lambda: self.rows("a")["a"]["admin"] == "drain", _SPREAD, lambda: self.rows("a")
        )
        self.lab.start_daemon("b", "c")
        self.await_all("b", _SPREAD, admin="maint", eligible=False)
        self.await_all("a", _SPREAD, admin="drain", eligible=False)
        self.say("a", Admin.READY)
        self.say("b", Admin.READY)
        self.await_all("b", _SPREAD, eligible=True)


class SlowStartTests(DecidedTestCase):
    config: ClassVar[Mapping[str, object]] = {**_RAW, "slow-start": 6}

    def _share(self) -> tuple[int, int]:
        """
        @return: what C{a} and C{b} get in a second.
        """
        before = self.begun("a"), self.begun("b")
        time.sleep(1)
        return self.begun("a") - before[0], self.begun("b") - before[1]

    def test_slow_start(self) -> None:
        """
        In its first second a node gets a sixth at most of what the others get, and in the end
        as much.
        """
        with self.load(_CLOSE, fronts="a"):
            self.say("b", Admin.DRAIN)
            self.say("b", Admin.READY)
            one, other = self._share()
            self.assertGreater(one, 3 * other)
            self.await_all("b", 6 + _SPREAD, weight=100.0)
            one, other = self._share()
            self.assertGreater(2 * other, one)


class KernelDrainTests(DrainTests):
    """
    The same where the kernel moves the packets.
    """

    config: ClassVar[Mapping[str, object]] = _KERNEL


class ExpressDrainTests(DrainTests):
    """
    As above where the kernel hands connections off.
    """

    mode = EXPRESS
    config = _EXPRESS

    def begun(self, node: str) -> int:
        counters = self.counters(node)
        return counters["ebpf.adopted"] + counters["adopt.begun"]


class HealthTests(MembershipTestCase):
    """
    An origin stops, and starts again.
    """

    config: ClassVar[Mapping[str, object]] = _HTTP

    def stop_origin(self, node: str) -> None:
        """
        End it at once, so that its port is closed.
        """
        path = self.lab.home(node) / "nginx.pid"
        self.assertFalse(end(recorded([path], [self.lab.network.namespace(node)]), signal.SIGQUIT))

    def start_origin(self, node: str) -> None:
        """
        As the lab does.
        """
        home = self.lab.home(node)
        command = ["nginx", "-p", str(home), "-e", f"{home}/error.log", "-c", f"{home}/nginx.conf"]
        self.assertEqual(self.lab.exec(node, command).returncode, 0)

    def test_origin_stops_under_load(self) -> None:
        """
        The others answer; it gets requests again when it is there again.
        """
        for node in self.lab.nodes:
            self.await_all(node, _SPREAD, health="up", eligible=True)
        target = url("a", 4, "/shared/1k")
        self.stop_origin("b")
        self.addCleanup(self._start_again, "b")
        # What a front-end asks before it knows is refused, and asked elsewhere.
        self._all_answer(target, 20)
        self.await_all("b", 2 + _SPREAD, health="down", eligible=False)
        refused = self.moved("a")["handoff.refused.no-listener"]
        self._all_answer(target, 20)
        self.assertEqual(self.moved("a")["handoff.refused.no-listener"], refused)
        only = self.lab.exec(CLIENT, ["curl", "-s", "-w", "%{http_code}", url("a", 4, "/b/1k")])
        self.assertTrue(only.stdout.endswith(b"503"), only.stdout)
        self.assertIn("refused", self.rows("a")["b"]["why"])
        self._start_again("b")
        self.await_all("b", 2 + _SPREAD, health="up", eligible=True)
        again = self.lab.exec(CLIENT, ["curl", "-s", url("a", 4, "/b/1k")])
        self.assertEqual(again.stdout, self.lab.content("/b/1k"))
        self.assert_sound()

    def test_origin_hangs(self) -> None:
        """
        It takes connections and does not answer; its node's own TCP cannot know.
        """
        self.await_all("b", _SPREAD, health="up")
        self._signal("b", signal.SIGSTOP)
        self.addCleanup(self._signal, "b", signal.SIGCONT)
        self.await_all("b", 3 + _SPREAD, health="down", eligible=False)
        self.assertIn("no answer in 0.5 s", self.rows("a")["b"]["why"])
        self._all_answer(url("a", 4, "/shared/1k"), 20)
        self._signal("b", signal.SIGCONT)
        self.await_all("b", 2 + _SPREAD, health="up", eligible=True)
        self.assert_tables_empty(5)
        self.assert_sound()

    def _signal(self, node: str, number: int) -> None:
        master = self.lab.origin_pid(node)
        workers = Path(f"/proc/{master}/task/{master}/children").read_text().split()
        for pid in (master, *map(int, workers)):
            assert pid is not None
            os.kill(pid, number)

    def _start_again(self, node: str) -> None:
        if self.lab.origin_pid(node) is None:
            self.start_origin(node)

    def _all_answer(self, target: str, count: int) -> None:
        command = [
            "curl",
            "-s",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}\\n",
            f"{target}?[1-{count}]",
        ]
        answers = self.lab.exec(CLIENT, [*command, "-H", "Connection: close"]).stdout.split()
        self.assertEqual(answers, [b"200"] * count)


class HandoffHealthTests(HealthTests):
    """
    The same, found out by handing off; and nothing of that leaves the host.
    """

    config: ClassVar[Mapping[str, object]] = _HANDOFF

    def test_nothing_leaves(self) -> None:
        self.await_all("b", _SPREAD, health="up")
        before = self.counters("b")
        with self.lab.capture("b", f"host {addresses(ROUTER)[0]} and tcp") as seen:
            self.await_that(
                lambda: self.counters("b")["adopt.done"] >= before["adopt.done"] + 5, 5, self.flows
            )
        read = subprocess.run(["tcpdump", "-nr", str(seen)], capture_output=True, check=True)
        self.assertEqual(read.stdout, b"")
        self.assertEqual(self.moved("b")["direct.sent"], 0)


class KernelHandoffHealthTests(HandoffHealthTests):
    """
    The same where the kernel makes connections and moves packets.
    """

    config: ClassVar[Mapping[str, object]] = {
        **_HANDOFF,
        "datapath": "ebpf",
        "adoption": "cookie",
    }
