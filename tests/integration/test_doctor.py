# SPDX-License-Identifier: MIT
"""
C{btcp doctor} on nodes of a lab: one that is well, and one with six things wrong.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import btcp
from btcp.lab.topology import node_yaml
from tests.integration.standing import ClusterTestCase
from tests.modes import EBPF_COOKIE, Mode
from tests.parallel import slot

_CODE = Path(btcp.__file__).parents[1]
_DOCS = _CODE / "docs" / "operations.md"
_CONFIG: Mapping[str, object] = {"timeouts": {"linger": 1.0}}

_CHANGING = (
    (r"pid \d+", "pid 4711"),
    (r"\d+ days left", "364 days left"),
    (r"[+-]\d\.\d s", "+0.0 s"),
)


class DoctorCase(ClusterTestCase):
    maxDiff = None
    prefix: ClassVar[str] = f"svc{slot()}"
    tls: ClassVar[bool] = True
    config: ClassVar[Mapping[str, object]] = _CONFIG

    def doctor(self, config: Path, *options: str) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "btcp.cli", "doctor", "-c", str(config), *options]
        return self.lab.exec("a", ["env", f"PYTHONPATH={_CODE}", *command])

    def shown(self, config: Path) -> str:
        """
        What people see, but for what is different each time.
        """
        text = self.doctor(config).stdout.decode()
        for pattern, instead in (*_CHANGING, (re.escape(str(self.lab.state)), "/run")):
            text = re.sub(pattern, instead, text)
        return text

    def documented(self, number: int) -> str:
        section = _DOCS.read_text().partition("## Doctor\n")[2].partition("\n## ")[0]
        blocks: list[str] = re.findall(r"```text\n(.*?)```", section, re.DOTALL)
        return blocks[number]

    def verdicts(self, done: subprocess.CompletedProcess[bytes]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        answer: dict[str, Any] = json.loads(done.stdout)
        for each in answer["checks"]:
            found.setdefault(each["check"], []).append(each["verdict"])
        return found


class DoctorTests(DoctorCase):
    def test_well(self) -> None:
        """
        As documented; and nobody's counters tell of an attack.
        """
        config = self.lab.home("a") / "node.yaml"
        self.assertEqual(self.shown(config), self.documented(0))
        done = self.doctor(config, "--json")
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertEqual({v for all in self.verdicts(done).values() for v in all}, {"fine"})
        for node in "bc":
            self.assertEqual(self.moved(node)["control.stranger"], 0)
        self.assert_sound()

    def test_not_started(self) -> None:
        """
        Before the first start there is one thing to do.
        """
        self.lab.stop_daemon("a")
        done = self.doctor(self.lab.home("a") / "node.yaml", "--json")
        found = self.verdicts(done)
        self.assertEqual(found.pop("daemon"), ["warn"])
        self.assertEqual({v for all in found.values() for v in all}, {"fine"})
        self.assertEqual(done.returncode, 0)

    def test_broken(self) -> None:
        """
        Killed, the source check strict, the key open, no origin, a small MTU on b, c stopped.
        """
        lab, home = self.lab, self.lab.home("a")
        lab.stop_daemon("a", signal.SIGKILL)
        lab.stop_daemon("c")
        strict = "net.ipv4.conf.all.rp_filter"
        old = lab.exec("a", ["sysctl", "-n", strict]).stdout.decode().strip()
        lab.exec("a", ["sysctl", "-q", f"{strict}=1"])
        self.addCleanup(lab.exec, "a", ["sysctl", "-q", f"{strict}={old}"])
        lab.exec("b", ["ip", "link", "set", "eth0", "mtu", "1400"])
        self.addCleanup(lab.exec, "b", ["ip", "link", "set", "eth0", "mtu", "1500"])
        key = lab.authority / "a" / "node.key"
        os.chmod(key, 0o644)
        self.addCleanup(os.chmod, key, 0o600)
        config = home / "broken.yaml"
        changes = {"listeners": {"web": {"port": 80, "origin": 8081}}, **self._control()}
        config.write_text(node_yaml("a", home, "abc", changes))
        self.assertEqual(self.shown(config), self.documented(1))
        self.assertEqual(self.doctor(config).returncode, 1)

    def _control(self) -> dict[str, object]:
        files = {"certificate": "node.crt", "key": "node.key", "authority": "ca.crt"}
        place = self.lab.authority / "a"
        return {"control": {key: str(place / name) for key, name in files.items()}}

    def test_no_configuration(self) -> None:
        done = self.doctor(Path("/does/not/exist.yaml"))
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"fine  tun", done.stdout)
        self.assertNotIn(b"device", done.stdout)
        self.assertIn(b"/does/not/exist.yaml: can not be read", done.stderr)

    def test_wrong_name(self) -> None:
        """
        Who answers as b has the certificate of c.
        """
        home = self.lab.home("a")
        nodes = {
            "a": {"addresses": ["192.0.2.11"], "control": "192.0.2.11:7311"},
            "b": {"addresses": ["192.0.2.13"], "control": "192.0.2.13:7311"},
        }
        rules = [{"path": "/", "nodes": ["a"]}]
        config = home / "wrong.yaml"
        changes = {"nodes": nodes, "partition": rules, **self._control()}
        config.write_text(node_yaml("a", home, "ab", changes))
        done = self.doctor(config)
        self.assertEqual(done.returncode, 1)
        self.assertIn(
            b"the certificate is not for b.btcp.internal but for c.btcp.internal", done.stdout
        )


class KernelDatapathTests(DoctorCase):
    """
    The same questions where the kernel moves the packets.
    """

    mode: ClassVar[Mode] = EBPF_COOKIE

    def test_killed(self) -> None:
        """
        The tc programs are found, and what it says to type takes them away.
        """
        self.lab.stop_daemon("a", signal.SIGKILL)
        done = self.doctor(self.lab.home("a") / "node.yaml", "--json")
        remains = [each for each in json.loads(done.stdout)["checks"] if each["check"] == "remains"]
        commands = [line for each in remains for line in each["remedy"] if line[0] != "#"]
        self.assertEqual(len([line for line in commands if line.startswith("tc filter del")]), 2)
        for line in commands:
            typed = self.lab.exec("a", ["sh", "-c", line])
            self.assertEqual(typed.returncode, 0, typed.stderr)
        done = self.doctor(self.lab.home("a") / "node.yaml", "--json")
        self.assertEqual(self.verdicts(done)["remains"], ["fine"])
        for name in ("ebpf", "cookie"):
            self.assertEqual(self.verdicts(done)[name], ["fine"])
