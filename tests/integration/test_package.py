# SPDX-License-Identifier: MIT
"""
The Debian package, installed on three clean Debian 12 with systemd as docs/installation.md says.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import ClassVar
from unittest import SkipTest

import btcp
from btcp.lab.topology import CLIENT, node_yaml, url
from tests.integration.booted import System, lacks, told
from tests.integration.standing import DOWNLOADER, ClusterTestCase, python
from tests.modes import EBPF_COOKIE, Mode

_TREE = Path(btcp.__file__).parents[1]
_ROOT = _TREE / "build" / "debian"
_PAGE = "installation.md"
_LARGEST = 150_000
"""KiB that an installation may take on a node's disk."""

_FILES = ("node.crt", "node.key", "ca.crt")
_COMPILERS = ("cc", "gcc", "clang", "make", "haproxy", "wrk")


def _package() -> Path | None:
    return next(iter(sorted((_TREE / "dist").glob("btcp_*.deb"))), None)


class PackageTests(ClusterTestCase):
    """
    No host has the source tree, a compiler, or anything that the machine of the tests has.
    """

    mode: ClassVar[Mode] = EBPF_COOKIE
    config: ClassVar[Mapping[str, object]] = {"timeouts": {"linger": 1.0}}
    tls: ClassVar[bool] = True

    def setUp(self) -> None:
        package = _package()
        if package is None or not _ROOT.is_dir():
            raise SkipTest("no package or no clean Debian: make dist build/debian")
        super().setUp()
        for node in self.lab.nodes:
            self.lab.stop_daemon(node)
        self.systems = {node: self._boot(node, package) for node in self.lab.nodes}

    def _boot(self, node: str, package: Path) -> System:
        scratch = Path("/run/btcp-lab") / self.prefix / f"scratch-{node}-{time.monotonic_ns()}"
        scratch.mkdir(mode=0o755)
        self.addCleanup(shutil.rmtree, scratch, True)
        lacking = lacks(scratch)
        if lacking:
            raise SkipTest("; ".join(lacking))
        system = System(self.lab, node, scratch, {}, (_ROOT, package))
        self.addCleanup(system.close)
        return system

    def type(self, node: str, heading: str, number: int = 0) -> None:
        """
        Type what the documentation says there.
        """
        for line in told(heading, _PAGE, number):
            self.systems[node].good("sh", "-euc", line)

    def configuration(self, node: str) -> str:
        control = {
            key: f"/etc/btcp/{name}"
            for key, name in zip(("certificate", "key", "authority"), _FILES, strict=True)
        }
        usual: dict[str, object] = {"run": None, "state": None, "control": control}
        return node_yaml(node, Path("/"), "abc", {**self.lab.config, **usual})

    def journals(self) -> str:
        command = ("journalctl", "--no-pager", "-o", "cat", "-u", "btcp")
        return "\n".join(
            f"{node}:\n{system.run(*command).stdout}" for node, system in self.systems.items()
        )

    def linked(self, node: str) -> bool:
        said = self.systems[node].run("btcp", "show", "peers")
        return said.returncode == 0 and said.stdout.count(" up ") == 2

    def await_links(self) -> None:
        for node in self.systems:
            self.await_that(partial(self.linked, node), 30, self.journals)

    def get(self, front: str, version: int, path: str) -> bytes:
        command = ["curl", "-s", "-m", "5", url(front, version, path)]
        return self.lab.exec(CLIENT, command).stdout

    def test_from_bare_hosts_to_upgrade(self) -> None:
        """
        Install, describe, certify, start; then restart and upgrade a node under downloads.
        """
        for node, system in self.systems.items():
            self.assertEqual(system.run("which", *_COMPILERS).stdout, "")
            self.type(node, "Debian package")
            self._look_at_installation(system)
            system.write("/etc/btcp/node.yaml", self.configuration(node))
        self._certify()
        for node in self.systems:
            self.type(node, "Cluster", 1)
        self.await_links()
        for front, path in (("a", "/b/100k"), ("b", "/a/100k"), ("c", "/a/1k"), ("a", "/a/1k")):
            for version in (4, 6):
                self.assertEqual(self.get(front, version, path), self.lab.content(path))
        self._assert_kept("systemctl restart btcp")
        self._assert_kept("apt-get install -y --reinstall ./btcp_*.deb")
        self._remove(self.systems["c"])

    def _look_at_installation(self, system: System) -> None:
        size = int(system.good("du", "-sk", "/usr/lib/btcp").split()[0])
        self.assertLess(size, _LARGEST)
        self.assertIn("btcp ", system.good("btcp", "--version"))
        self.assertEqual(system.run("systemctl", "is-enabled", "btcp").stdout, "disabled\n")
        system.good("btcp", "check", "--node", "a", "/etc/btcp/node.yaml.example")
        for path in (
            "/usr/share/man/man1/btcp.1.gz",
            "/usr/share/man/man1/btcp-doctor.1.gz",
            "/usr/share/bash-completion/completions/btcp",
            "/usr/share/zsh/vendor-completions/_btcp",
            "/etc/logrotate.d/btcp",
        ):
            system.good("test", "-s", path)

    def _certify(self) -> None:
        first = self.systems["a"]
        self.type("a", "Cluster", 0)
        for node, system in self.systems.items():
            for name in _FILES:
                made = first.good("cat", f"/root/btcp-ca/{node}/{name}")
                system.write(f"/etc/btcp/{name}", made)

    def _assert_kept(self, command: str) -> None:
        """
        Downloads through node a, which is front-end of one and back-end of the other, go on.
        """
        paths = ("/b/10m", "/a/10m")
        downloads = [
            self.lab.popen(CLIENT, python(DOWNLOADER, self.lab.address(front, 4), path, 0))
            for front, path in zip("ab", paths, strict=True)
        ]
        system = self.systems["a"]

        def flowing() -> bool:
            rows = system.good("btcp", "show", "flows").splitlines()
            roles = {row.split()[0] for row in rows if "FORWARDING" in row or "SPLICED" in row}
            return roles == {"front", "back"}

        self.await_that(flowing, 10, lambda: system.good("btcp", "show", "flows"))
        before = system.show("btcp", "MainPID")
        system.good("sh", "-euc", command)
        self.assertNotEqual(system.show("btcp", "MainPID"), before)
        for process, path in zip(downloads, paths, strict=True):
            received = process.communicate(timeout=60)[0]
            self.assertEqual(len(received), len(self.lab.content(path)), (command, self.journals()))
            self.assertEqual(received, self.lab.content(path))
        self.await_links()

    def _remove(self, system: System) -> None:
        """
        It stops, and leaves nothing but what people wrote.
        """
        system.good("apt-get", "purge", "-y", "btcp")
        self.assertNotEqual(system.run("systemctl", "is-active", "btcp").returncode, 0)
        for path in ("/usr/lib/btcp", "/usr/bin/btcp", "/var/lib/btcp"):
            self.assertNotEqual(system.run("test", "-e", path).returncode, 0, path)
        system.good("test", "-e", "/etc/btcp/node.yaml")
