# SPDX-License-Identifier: MIT
"""
A whole cluster that stands while the tests of a module run against it.
"""

from __future__ import annotations

import atexit
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from btcp.lab import origin
from btcp.lab.cluster import Lab
from btcp.lab.topology import CLIENT
from tests.claims.packets import read
from tests.claims.stage import End
from tests.modes import RAW_REPLAY, Mode
from tests.parallel import slot
from tests.turns import end_turn, take_turn

PREFIX = f"hold{slot()}"

GUARD = 60.0
"""
Seconds after which something that a test waits for is taken to hang.  Shorter than the timeouts by
which a node forgets idle connections, so that what they remove does not pass for cleaned up.
"""

RESETS = (
    "(tcp[tcpflags] & tcp-rst != 0) or (ip6 and ip6[6] == 6 and ip6[53] & 4 != 0)"  # RFC 9293, 3.1
)

ENDS = (
    "(tcp[tcpflags] & (tcp-fin|tcp-rst) != 0)"
    " or (ip6 and ip6[6] == 6 and ip6[53] & 5 != 0)"  # RFC 9293, 3.1
)

DOWNLOADER = """
import socket, sys, time
address, path, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
connection = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
connection.bind(("", port))
connection.connect((address, 80))
connection.sendall(f"GET {path} HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n".encode())
answer = bytearray()
while piece := connection.recv(100_000, socket.MSG_WAITALL):
    answer += piece
    time.sleep(0.05)
sys.stdout.buffer.write(answer.partition(b"\\r\\n\\r\\n")[2])
"""
"""
A client that fetches a piece each 50 ms, and prints the body in the end: address, path, and its
port or 0.  Its buffer is small: with a large one most of a download is there at once, and the
connection silent thereafter.
"""

OPENS = """
import errno, select, socket, sys, time
count, address, request, wait = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
connections = [socket.create_connection((address, 80), 5) for _ in range(count)]
for connection in connections:
    connection.sendall(request.encode())
for connection in connections:
    if wait == "answer":
        connection.recv(1)
print("open", flush=True)
"""
"""
A client that opens so many connections, sends the same on each, waits for an answer on each if it
is to come, and says "open": count, address, request, and C{answer} or something else.
"""

WAITS = """
waiting = select.poll()
for connection in connections:
    waiting.register(connection, 0)
left = {connection.fileno(): connection for connection in connections}
while left:
    for fd, _ in waiting.poll():
        waiting.unregister(fd)
        error = left.pop(fd).getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        print(errno.errorcode.get(error, error))
"""
"""
What such a client can do next: read nothing, and print how each connection ended.
"""

_standing: dict[str, tuple[Lab, Mapping[str, object], Mode]] = {}


def _stand(prefix: str, config: Mapping[str, object], mode: Mode, make: Callable[..., Lab]) -> Lab:
    """
    @param make: makes the lab, given its prefix and the nodes' configuration.
    @return: a lab with this configuration.  The first case that wants another one takes it
        down; the end of the process takes the last one down.
    """
    if prefix in _standing:
        lab, *its = _standing[prefix]
        if its[0] is config and its[1] is mode:
            return lab
    _take_down()
    take_turn(prefix)
    lab = make(prefix, config={**mode.config, **config})
    lab.up()
    _standing[prefix] = lab, config, mode
    return lab


@atexit.register
def _take_down() -> None:
    while _standing:
        prefix, (lab, *_) = _standing.popitem()
        lab.down()
        end_turn(prefix)


def early_resets(capture: Path) -> list[str]:
    """
    A reset hurts nobody once both sides have closed.  It comes by TCP itself where FINs are lost:
    both sides send theirs again at the same time, and if the client's last ACK overtakes its FIN,
    the server has forgotten the connection when that arrives (RFC 9293, 3.10.7.1).

    @param capture: at the client, by L{ENDS}.
    @return: each reset of a connection on which there was not a FIN of both sides before.
    """
    closed: set[tuple[End, End]] = set()
    early = []
    for packet in read(capture):
        source, destination = packet.ends
        both = {(source, destination), (destination, source)} <= closed
        if "R" in packet.flags and not both:
            early.append(str(packet))
        if "F" in packet.flags:
            closed.add((source, destination))
    return early


class ClusterTestCase(SynchronousTestCase):
    """
    @cvar config: top-level keys of the nodes' configuration; the tests that share the mapping
        share the lab.
    @cvar mode: in which the nodes work.
    @cvar prefix: of the lab.
    @cvar tls: whether the control channel is protected.
    @cvar origin_config: see L{btcp.lab.origin.CONFIG}.
    @ivar lab: stands, with a daemon on each node.
    """

    prefix: ClassVar[str] = PREFIX
    tls: ClassVar[bool] = False
    mode: ClassVar[Mode] = RAW_REPLAY
    config: ClassVar[Mapping[str, object]]
    origin_config: ClassVar[str] = origin.CONFIG
    lab: Lab

    def setUp(self) -> None:
        lacks = self.mode.lacks()
        if lacks:
            raise SkipTest("; ".join(lacks))
        make = partial(
            Lab,
            tls=self.tls,
            origin_config=self.origin_config,
            environment=self.environment,
        )
        self.lab = _stand(self.prefix, self.config, self.mode, make)
        down = [node for node in self.lab.nodes if self.lab.daemon_pid(node) is None]
        if down:
            self.lab.start_daemon(*down)
        self._before = {node: self.counters(node) for node in self.lab.nodes}
        self._logged = {node: self._log(node).stat().st_size for node in self.lab.nodes}

    def environment(self, node: str) -> Mapping[str, str]:
        """
        See L{Lab.environment}; asked when the lab is made.
        """
        return {}

    def _log(self, node: str) -> Path:
        return self.lab.home(node) / "twistd.log"

    # -- what the nodes say ----------------------------------------------------

    def counters(self, node: str) -> Counter[str]:
        return Counter(self.lab.query(node, "stats")["counters"])

    def moved(self, node: str) -> Counter[str]:
        """
        What a node has counted since the test began, or since the node was started.
        """
        now, before = self.counters(node), self._before[node]
        started_since = any(now[name] < count for name, count in before.items())
        return now if started_since else now - before

    def logged(self, node: str) -> str:
        """
        What a node's daemon has logged since the test began.
        """
        with self._log(node).open(errors="replace") as log:
            log.seek(self._logged[node])
            return log.read()

    def flows(self) -> dict[str, dict[str, int]]:
        """
        How many flows each node knows that runs.
        """
        running = [node for node in self.lab.nodes if self.lab.daemon_pid(node) is not None]
        return {node: self.lab.query(node, "stats")["flows"] for node in running}

    def memory(self, node: str) -> int:
        """
        Resident octets of a node's daemon.
        """
        status = Path(f"/proc/{self.lab.daemon_pid(node)}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) << 10

    def assert_tables_empty(self, seconds: float = GUARD) -> None:
        """
        Wait until no node that runs knows a flow.

        @param seconds: see L{await_that}.
        """

        def left() -> list[object]:
            return [self.lab.query(node, "flows")["flows"] for node in self.flows()]

        self.await_that(lambda: not any(left()), seconds, left)

    def assert_sound(self) -> None:
        """
        All daemons run, and none has logged a traceback since the test began.
        """
        for node in self.lab.nodes:
            self.assertIsNotNone(self.lab.daemon_pid(node), self.lab.log(node))
            self.assertNotIn("Traceback", self.logged(node))
            self.assertEqual(self.moved(node)["failed.packet"], 0)

    def await_that(
        self, holds: Callable[[], bool], seconds: float, tell: Callable[[], object]
    ) -> None:
        """
        Wait for a condition.  The limit guards against hanging and decides nothing: a machine that
        does other work may take many times as long as a quiet one.

        @param seconds: what it may take on a quiet machine; L{GUARD} applies if that is longer.
        @param tell: returns what to say if the condition never holds.
        """
        seconds = max(seconds, GUARD)
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                self.fail(f"not in {seconds} s: {tell()}")
            time.sleep(0.05)

    # -- what the client does --------------------------------------------------

    def python(
        self, program: str, *arguments: object, host: str = CLIENT, timeout: float = 60
    ) -> str:
        """
        Run a Python program on a host.

        @return: what it printed.
        """
        done = self.lab.exec(host, python(program, *arguments), timeout=timeout)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        return done.stdout.decode()


def python(program: str, *arguments: object) -> Sequence[str]:
    """
    @return: the command line that runs a Python program.
    """
    return [sys.executable, "-c", program, *map(str, arguments)]
