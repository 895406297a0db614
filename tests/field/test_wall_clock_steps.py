# SPDX-License-Identifier: MIT
"""
The wall clock of a node is set an hour back or forward: a host without a real-time clock got the
time from the network, a virtual machine was resumed, somebody corrected the date.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from btcp.lab.topology import CLIENT, url
from tests.field import clock
from tests.integration.standing import ClusterTestCase, python
from tests.modes import in_every_mode
from tests.parallel import slot

_CONFIG: Mapping[str, object] = {
    "control": {"insecure": True, "heartbeat": 0.5},
    "timeouts": {"linger": 0.5, "link-grace": 1.0},
}
_HOUR = 3600
_REQUESTS = 10
_BOUND = 15.0
"""Seconds within which what takes two to three has happened on a busy machine.  With timers on
the wall clock it takes an hour."""

# Holds so many connections, each of which has had one answer; asks once more on each when told
# to, and prints the status codes.
_KEEPING = """
import http.client, sys
address, path, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
connections = [http.client.HTTPConnection(address, timeout=10) for _ in range(count)]

def ask():
    codes = []
    for connection in connections:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        codes.append(answer.status)
    return codes

print(*ask(), flush=True)
sys.stdin.readline()
print(*ask(), flush=True)
"""


@in_every_mode
class WallClockTests(ClusterTestCase):
    prefix: ClassVar[str] = f"clock{slot()}"
    config: ClassVar[Mapping[str, object]] = _CONFIG

    def environment(self, node: str) -> Mapping[str, str]:
        return clock.environment(self._clock(node))

    def _clock(self, node: str) -> Path:
        return Path("/run/btcp-lab") / self.prefix / node / "clock"

    @contextmanager
    def step(self, node: str, seconds: int) -> Iterator[None]:
        """
        Set a node's clock while three connections and a download run through node C{a}.
        """
        address = self.lab.address("a", 4)
        keeping = self.lab.popen(
            CLIENT, python(_KEEPING, address, "/b/1k", 3), stdin=subprocess.PIPE
        )
        assert keeping.stdout is not None
        self.assertEqual(keeping.stdout.readline().split(), [b"200"] * 3)
        slow = ["curl", "-s", "--limit-rate", "5M", url("a", 6, "/b/10m")]
        download = self.lab.popen(CLIENT, slow)
        clock.set_clock(self._clock(node), seconds)
        yield
        output, errors = keeping.communicate(b"\n", timeout=20)
        self.assertEqual(output.split(), [b"200"] * 3, errors.decode())
        body, _ = download.communicate(timeout=30)
        self.assertEqual(body, self.lab.content("/b/10m"))

    def assert_answers(self) -> None:
        """
        New connections are answered at the first try, in both families.
        """
        for family in (4, 6):
            urls = [url("a", family, "/b/1k")] * _REQUESTS
            format = "%{http_code}\n"
            # Each on a connection of its own.
            command = ["curl", "-s", "-m", "5", "-H", "Connection: close", "-w", format]
            outputs = [word for each in urls for word in ("-o", "/dev/null", each)]
            done = self.lab.exec(CLIENT, [*command, *outputs])
            self.assertEqual(done.stdout.split(), [b"200"] * _REQUESTS)

    def link(self, node: str, peer: str) -> str:
        for each in self.lab.query(node, "peers")["peers"]:
            if each["node"] == peer:
                return str(each["state"])
        self.fail(f"{node} knows no peer {peer}")

    def assert_dead_peer_is_seen(self, node: str) -> None:
        """
        The node reports the link to a stopped peer as down, and as up when the peer goes on.
        """
        pid = self.lab.daemon_pid("c")
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            self.await_that(
                lambda: self.link(node, "c") != "up", _BOUND, lambda: "the link is still up"
            )
        finally:
            os.kill(pid, signal.SIGCONT)
        self.await_that(
            lambda: self.link(node, "c") == "up", _BOUND, lambda: "the link is still down"
        )

    def assert_time_goes_on(self, node: str) -> None:
        """
        Every step is followed by another in the other direction, so both are seen.
        """
        for seconds in (-_HOUR, 0):
            with self.step(node, seconds):
                self.assert_answers()
                self.assert_dead_peer_is_seen(node)
            self.assert_tables_empty(_BOUND)
            self.assertEqual(self.link(node, "b" if node == "a" else "a"), "up")
        self.assert_sound()

    def test_front_end(self) -> None:
        """
        The front-end's clock goes back an hour, and later forward an hour: no request fails, what
        ran goes on, a dead peer is seen in time, and flows are freed.
        """
        self.assert_time_goes_on("a")

    def test_back_end(self) -> None:
        """
        The same at the back-end.
        """
        self.assert_time_goes_on("b")
