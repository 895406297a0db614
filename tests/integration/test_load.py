# SPDX-License-Identifier: MIT
"""
Many connections: at once and with losses, and one after another on few ports.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from typing import ClassVar

from btcp.lab.topology import CLIENT, url
from tests.amounts import amount
from tests.integration.standing import ENDS, ClusterTestCase, early_resets
from tests.modes import in_all_modes, in_every_mode

_CONFIG: Mapping[str, object] = {}
_LINGER = 2.0  # the default
_SLACK = 3.0
_CLOSING = 10.0
"""Seconds for connections to end on a network that loses packets: a FIN that is lost is sent
again after the retransmission timeout, which is 1 second and twice that, and so on, until a
round trip was measured (RFC 6298, 2 and 5)."""

_DOWNLOADS = 200
_PATIENCE = 110.0

_HANGING = 600.0
"""Seconds after which a client is taken to hang."""

_MOST_GROWTH = 5 << 20

# Connects so often, to the addresses in turn, for the paths in turn; says what went wrong.
_CLIENT = """
import errno, socket, sys, time
who, count, addresses, paths, size = sys.argv[1:]
addresses, paths, bad = addresses.split(","), paths.split(","), []
for number in range(int(count)):
    address, path = addresses[number % len(addresses)], paths[number % len(paths)]
    request = f"GET {path} HTTP/1.1\\r\\nHost: x\\r\\n"
    request += "Connection: close\\r\\n\\r\\n" if who == "server" else "\\r\\n"
    while True:
        try:
            connection = socket.create_connection((address, 80), 5)
            break
        except OSError as problem:
            # All ports wait: for the client's own TCP, not for the cluster.
            if problem.errno != errno.EADDRNOTAVAIL:
                raise
            time.sleep(0.01)
    answer = b""
    try:
        connection.sendall(request.encode())
        while who == "server" or len(answer.partition(b"\\r\\n\\r\\n")[2]) < int(size):
            piece = connection.recv(65536)
            if not piece:
                break
            answer += piece
    except OSError as problem:
        bad.append(f"{number} {connection.getsockname()} {address}{path}: {problem!r}")
    connection.close()
    head, _, body = answer.partition(b"\\r\\n\\r\\n")
    if not head.startswith(b"HTTP/1.1 200 ") or len(body) != int(size):
        bad.append(f"{number} {address}{path}: {head[:40]} {len(body)}")
print("\\n".join(bad))
"""


class LoadTestCase(ClusterTestCase):
    """
    Tests on a cluster as it is by default.
    """

    config: ClassVar[Mapping[str, object]] = _CONFIG

    def sysctl(self, host: str, name: str, value: str) -> None:
        """
        Set it until the test is over.
        """
        old = self.lab.exec(host, ["sysctl", "-n", name]).stdout.decode().strip()
        self.addCleanup(self.lab.exec, host, ["sysctl", "-q", f"{name}={old}"])
        done = self.lab.exec(host, ["sysctl", "-q", f"{name}={value}"])
        self.assertEqual(done.returncode, 0, done.stderr)


@in_every_mode
class DownloadTests(LoadTestCase):
    def test_downloads_with_losses(self) -> None:
        """
        Many at once of 10 MB each, over both versions of IP and through all front-ends, with
        2 % of the packets lost each way: every octet right, no reset, nothing left behind.
        """
        # Where Python moves every packet, fewer take as long.
        part = _DOWNLOADS // 2 if self.mode.in_kernel else _DOWNLOADS // 5
        count = amount(_DOWNLOADS, part)
        self.lab.loss(2)
        self.addCleanup(self.lab.loss, 0)
        with self.lab.capture(CLIENT, ENDS) as ends:
            running = [self._download(number) for number in range(count)]
            said = [process.communicate(timeout=_PATIENCE)[1].decode() for process in running]
        self.assertEqual([process.returncode for process in running], [0] * count, said)
        self.assertEqual(early_resets(ends), [])
        self.assert_tables_empty(_LINGER + _CLOSING)
        self.assert_sound()

    def _download(self, number: int) -> subprocess.Popen[bytes]:
        nodes = self.lab.nodes
        front, holder = nodes[number % 3], nodes[number // 3 % 3]
        target = url(front, 4 if number % 2 else 6, f"/{holder}/10m")
        right = self.lab.state / "content" / holder / "10m"
        # A back-end refuses a port that it has already from another front-end.
        first = 20000 + 10000 * nodes.index(front)
        curl = f"curl -sS -m {_PATIENCE:.0f} --local-port {first}-{first + 9999} '{target}'"
        return self.lab.popen(CLIENT, ["bash", "-o", "pipefail", "-c", f"{curl} | cmp - '{right}'"])


@in_all_modes
class PortReuseTests(LoadTestCase):
    """
    Connections one after another from one address and few ports.
    """

    def _ports(self, count: int) -> None:
        self.sysctl(CLIENT, "net.ipv4.ip_local_port_range", f"20000 {20000 + count - 1}")

    def _connect(self, closer: str, count: int, family: int = 4, fronts: str = "a") -> None:
        addresses = ",".join(self.lab.address(front, family) for front in fronts)
        paths = ",".join(f"/{node}/1k" for node in self.lab.nodes)
        arguments = closer, count, addresses, paths, 1024
        said = self.python(_CLIENT, *arguments, timeout=_HANGING)
        self.assertEqual(said.strip(), "")

    def _memory(self) -> dict[str, int]:
        self.assert_tables_empty(_LINGER + _SLACK)
        return {node: self.memory(node) for node in self.lab.nodes}

    def test_closed_by_server(self) -> None:
        """
        From few ports: each port comes back, several times, while a back-end's TCP still
        holds it in TIME-WAIT.  No failure, and memory stays what it was.
        """
        self._ports(amount(200, 150))
        self._connect("server", amount(2000, 450))
        early = self._memory()
        self._connect("server", amount(8000, 900))
        late = self._memory()
        growth = {node: late[node] - early[node] for node in early}
        self.assertLess(max(growth.values()), _MOST_GROWTH, growth)
        self.assert_sound()

    def test_client_closes_first(self) -> None:
        """
        The client's TCP holds the ports in TIME-WAIT and takes them again for a SYN.
        """
        self._ports(amount(500, 200))
        self.sysctl(CLIENT, "net.ipv4.tcp_tw_reuse", "1")
        self._connect("client", amount(2000, 400))
        self._connect("client", amount(500, 200), family=6)
        self._memory()
        self.assert_sound()

    def test_port_meets_two_front_ends(self) -> None:
        """
        Two front-ends bring the same port to the same back-end, one soon after the other,
        with unrelated sequence numbers and timestamps.
        """
        self._ports(20)
        self._connect("server", amount(2000, 600), fronts="abc")
        self._memory()
        self.assert_sound()
