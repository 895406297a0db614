# SPDX-License-Identifier: MIT
"""
A host on the nodes' network sends resets in a client's name, without having seen a packet of the
client's connections.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from subprocess import Popen
from typing import ClassVar

from btcp.lab.topology import CLIENT
from tests.integration import blind_resets
from tests.integration.standing import DOWNLOADER, ClusterTestCase, python
from tests.modes import in_every_mode
from tests.parallel import slot

_CONFIG: Mapping[str, object] = {"control": {"insecure": True}}
_ROUNDS = 100
_SIZE = 10 << 20


@in_every_mode
class BlindResetTests(ClusterTestCase):
    prefix: ClassVar[str] = f"blind{slot()}"
    config: ClassVar[Mapping[str, object]] = _CONFIG

    def _download(self, path: str, port: int, family: int) -> Popen[bytes]:
        address = self.lab.address("a", family)
        return self.lab.popen(CLIENT, python(DOWNLOADER, address, path, port))

    def _mac(self, node: str) -> str:
        found = self.lab.exec(node, ["ip", "-o", "link", "show", "dev", "eth0"])
        words = found.stdout.decode().split()
        self.assertIn("link/ether", words)
        return words[words.index("link/ether") + 1]

    def test_downloads_survive_resets_in_the_clients_name(self) -> None:
        """
        Downloads from the front-end's own origin and from another node's are whole.
        """
        for family in (4, 6):
            self._attack(family, range(24000 + 10 * family, 24004 + 10 * family))
        self.assert_sound()

    def _attack(self, family: int, ports: range) -> None:
        running = [self._download(f"/{'ab'[port % 2]}/10m", port, family) for port in ports]
        self.await_that(lambda: len(self._known()) >= len(ports), 30, self._known)
        client, node = self.lab.address(CLIENT, family), self.lab.address("a", family)
        argv = [sys.executable, blind_resets.__file__, "eth0", self._mac("a"), client, node]
        done = self.lab.exec("c", [*argv, str(_ROUNDS), *map(str, ports)], timeout=60)
        self.assertEqual(done.stdout.split(), [b"%d" % (4 * _ROUNDS * len(ports))], done.stderr)
        for download in running:
            body, error = download.communicate(timeout=60)
            self.assertEqual((len(body), error), (_SIZE, b""))
        self.assert_tables_empty(30)

    def _known(self) -> list[object]:
        return [each for each in self.lab.query("a", "flows")["flows"] if each["role"] == "front"]
