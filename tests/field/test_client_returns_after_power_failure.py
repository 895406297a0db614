# SPDX-License-Identifier: MIT
"""
A client loses its connections without a word (power failure, NAT timeout, killed virtual machine)
and comes back from the same port: a host that boots chooses its ports anew.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Mapping
from typing import ClassVar

from btcp.lab.topology import CLIENT
from tests.field.programs import RETURNING_CLIENT
from tests.integration.standing import ClusterTestCase
from tests.modes import in_every_mode
from tests.parallel import slot

_CONFIG: Mapping[str, object] = {"control": {"insecure": True}}
_TABLE = "inet power_failure"
_ports = itertools.count(23000)


@in_every_mode
class ReturningClientTests(ClusterTestCase):
    prefix: ClassVar[str] = f"back{slot()}"
    config: ClassVar[Mapping[str, object]] = _CONFIG

    def _nft(self, *commands: str) -> None:
        done = self.lab.exec(CLIENT, ["nft", "; ".join(commands)], timeout=20)
        self.assertEqual(done.returncode, 0, done.stderr)

    def _await(self, client: subprocess.Popen[bytes], word: bytes) -> None:
        assert client.stdout is not None and client.stderr is not None
        line = client.stdout.readline().strip()
        self.assertEqual(line, word, "" if line else client.stderr.read().decode())

    def _comes_back(self, node: str, family: int, path: str, again: str, phase: str) -> str:
        """
        @return: what the client prints of its second connection.
        """
        port = next(_ports)
        argv = [sys.executable, str(RETURNING_CLIENT)]
        argv += [self.lab.address(node, family), str(port), path, again, phase]
        client = self.lab.popen(CLIENT, argv, stdin=subprocess.PIPE)
        with client:
            assert client.stdin is not None and client.stdout is not None
            self._await(client, b"ready")
            self._nft(
                f"add table {_TABLE}",
                f"add chain {_TABLE} out {{ type filter hook output priority 0; }}",
                f"add rule {_TABLE} out tcp sport {port} drop",
            )
            try:
                client.stdin.write(b"\n")
                client.stdin.flush()
                self._await(client, b"lost")
            finally:
                self._nft(f"delete table {_TABLE}")
            client.stdin.write(b"\n")
            client.stdin.flush()
            return client.stdout.readline().decode().strip()

    def _answers(self, phase: str, name: str) -> None:
        for family in (4, 6):
            for holder in "ab":
                # The kernel does not decode escapes: with express, the daemon decides the latter.
                for again in (f"/{holder}/{name}", f"/{holder}/%31k"):
                    path = f"/{holder}/{name}"
                    status = self._comes_back("a", family, path, again, phase)
                    self.assertEqual(status, "200", (family, path, again))
        self.assert_sound()

    def test_answered_after_idle_connection_was_lost(self) -> None:
        """
        The old connection was idle: nothing of it comes to the client any more.
        """
        self._answers("idle", "1k")

    def test_answered_after_download_was_lost(self) -> None:
        """
        The old connection was in the middle of a response, which the server sends again.
        """
        self._answers("amid", "10m")
