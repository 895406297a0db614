# SPDX-License-Identifier: MIT
"""
The unit in conf/systemd, installed as docs/operations.md says and run by a systemd.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar
from unittest import SkipTest

from btcp.lab.topology import CLIENT, node_yaml, url
from tests.integration.booted import System, lacks, told
from tests.integration.standing import DOWNLOADER, ClusterTestCase, python
from tests.modes import EBPF_COOKIE, Mode

_LOG = {"format": "json", "file": "/var/log/btcp/btcp.log"}
_PROTECTION = {"certificate": "node.crt", "key": "node.key", "authority": "ca.crt"}
_SOCKET = "/run/btcp/btcp.sock"
_NODE = "/etc/btcp/node.yaml"
_CAPABILITIES = "000000c000003000"


class UnitTests(ClusterTestCase):
    """
    Node a has a systemd; b and c are as they were.
    """

    mode: ClassVar[Mode] = EBPF_COOKIE
    config: ClassVar[Mapping[str, object]] = {"timeouts": {"linger": 1.0}}
    tls: ClassVar[bool] = True

    def setUp(self) -> None:
        super().setUp()
        scratch = Path("/run/btcp-lab") / self.prefix / f"scratch-{time.monotonic_ns()}"
        scratch.mkdir(mode=0o755)
        self.addCleanup(shutil.rmtree, scratch, True)
        lacking = lacks(scratch)
        if lacking:
            raise SkipTest("; ".join(lacking))
        self.lab.stop_daemon("a")
        made = self.lab.authority / "a"
        files = {name: (made / name).read_bytes() for name in _PROTECTION.values()}
        files["node.yaml"] = self.configuration().encode()
        self.system = System(self.lab, "a", scratch, files)
        self.addCleanup(self.system.close)

    def configuration(self, **changes: object) -> str:
        """
        @return: the node's file; where it says nothing, the unit has to be right.
        """
        control = {key: f"/etc/btcp/{name}" for key, name in _PROTECTION.items()}
        usual: dict[str, object] = {"run": None, "state": None, "control": control}
        return node_yaml("a", Path("/"), "abc", {**self.lab.config, **usual, **changes})

    def install(self) -> None:
        """
        Do as operators are told.
        """
        for line in told("Service"):
            self.system.good("sh", "-euc", line)

    def write(self, **changes: object) -> None:
        """
        Write the node's file.
        """
        self.system.write(_NODE, self.configuration(**changes))

    def get(self, front: str, path: str) -> bytes:
        return self.lab.exec(CLIENT, ["curl", "-s", "-m", "3", url(front, 4, path)]).stdout

    def nodes(self) -> set[str]:
        """
        @return: those that the management shell shows.
        """
        return set(re.findall(r"^([abc])\b", self.show("nodes"), re.MULTILINE))

    def log(self) -> str:
        return self.system.run("cat", _LOG["file"]).stdout

    def drop_in(self, *lines: str) -> None:
        """
        Change the unit.
        """
        self.system.write(
            "/etc/systemd/system/btcp.service.d/test.conf", "\n".join(["[Service]", *lines, ""])
        )
        self.system.good("systemctl", "daemon-reload")

    def shown(self, *properties: str) -> Mapping[str, str]:
        return self.system.show("btcp", *properties)

    def journal(self) -> str:
        return self.system.run("journalctl", "--no-pager", "-o", "cat", "-u", "btcp").stdout

    def show(self, what: str) -> str:
        return self.system.good(".venv/bin/btcp", "show", "--socket", _SOCKET, what)

    def linked(self) -> bool:
        return all(
            peer["state"] == "up"
            for node in "bc"
            for peer in self.lab.query(node, "peers")["peers"]
        )

    def assert_serves(self) -> None:
        """
        As front-end and as back-end.
        """
        self.await_that(self.linked, 15, self.journal)
        for front, path in (("a", "/b/100k"), ("b", "/a/100k"), ("a", "/a/1k")):
            self.assertEqual(self.get(front, path), self.lab.content(path), (front, path))

    def tables(self) -> bytes:
        return self.lab.exec("a", ["nft", "list", "tables"]).stdout

    def assert_stops(self) -> None:
        """
        And leaves no trace.
        """
        self.system.good("systemctl", "stop", "btcp")
        said = self.shown("ActiveState", "Result")
        self.assertEqual(said, {"ActiveState": "inactive", "Result": "success"})
        hooks = self.lab.exec("a", ["tc", "qdisc", "show", "dev", "eth0"]).stdout
        devices = self.lab.exec("a", ["ip", "-o", "link"]).stdout
        found = (self.tables(), b"clsact" in hooks, b"btcp0" in devices)
        self.assertEqual(found, (b"", False, False))
        self.assertEqual(self.system.run("ls", "/run/btcp").stdout, "")

    def test_life(self) -> None:
        """
        Installed, started, reloaded, its log moved away, killed and stopped.
        """
        self.write(log=_LOG)
        self.install()
        self.system.good("systemctl", "is-enabled", "btcp")
        self._look_at_process()
        self.assert_serves()
        self.assertEqual(self.nodes(), {"a", "b", "c"})
        moved = self.lab.query("b", "stats")["counters"]
        self.assertGreater(moved.get("ebpf.forwarded", 0) + moved.get("handoff.sent", 0), 0)
        for expected in ("datapath: ebpf", "adoption: cookie", "has CAP_NET_ADMIN"):
            self.assertIn(expected, self.log())
        self._reload()
        self._rotate()
        self._kill()
        self.assert_stops()
        self.write(log=_LOG, datapath="raw", adoption="replay")
        self.system.good("systemctl", "start", "btcp")
        self.assert_serves()
        self.assertIn(b"table netdev btcp", self.tables())
        self.assert_stops()

    def _look_at_process(self) -> None:
        said = self.shown("Type", "ActiveState", "SubState", "MainPID", "StatusText")
        self.assertEqual(
            (said["Type"], said["ActiveState"], said["SubState"]), ("notify", "active", "running")
        )
        self.assertTrue(said["StatusText"].startswith("node a: "), said)
        user = self.system.good("id", "-u", "btcp").strip()
        status = self.status(said["MainPID"])
        self.assertNotEqual(user, "0")
        self.assertEqual(status["Uid"].split(), [user] * 4)
        sets = {status[f"Cap{each}"] for each in ("Prm", "Eff", "Amb")}
        self.assertEqual(sets, {_CAPABILITIES})
        self.assertEqual((status["NoNewPrivs"], status["Seccomp"]), ("1", "2"))

    def status(self, pid: str) -> dict[str, str]:
        """
        What the kernel says of a process.
        """
        text = self.system.good("cat", f"/proc/{pid}/status")
        return dict(line.split(":\t", 1) for line in text.splitlines())

    def _reload(self) -> None:
        """
        A rule less; then a file with errors, and one that only a restart can take: nothing is
        taken of those, and whoever asks for it hears why.
        """
        before = self.shown("MainPID", "NRestarts")
        rules = [{"path": "/b/", "nodes": ["b"]}]
        self.write(log=_LOG, partition=rules)
        self.system.good("systemctl", "reload", "btcp")
        self.assertIn(b"no node holds this", self.get("a", "/a/1k"))
        self.write(log=_LOG, timeouts={"linger": "long"})
        self.assertNotEqual(self.system.run("systemctl", "reload", "btcp").returncode, 0)
        self.assertEqual(self.shown("ActiveState")["ActiveState"], "active")
        self.assertIn("timeouts.linger: want seconds", self.journal())
        self.assertIn(b"no node holds this", self.get("a", "/a/1k"))
        self.assertEqual(self.get("a", "/b/1k"), self.lab.content("/b/1k"))
        self.write(log=_LOG, listeners={"web": {"port": 81, "origin": 8080}})
        self.assertNotEqual(self.system.run("systemctl", "reload", "btcp").returncode, 0)
        self.assertIn("only a restart can change listeners", self.journal())
        self.write(log=_LOG)
        self.system.good("systemctl", "reload", "btcp")
        self.assertEqual(self.get("a", "/a/1k"), self.lab.content("/a/1k"))
        self.assertEqual(self.shown("MainPID", "NRestarts"), before)

    def _rotate(self) -> None:
        self.system.good("logrotate", "--force", "/etc/logrotate.d/btcp")
        self.get("a", "/b/1k")
        self.await_that(lambda: "/b/1k" in self.log(), 5, self.log)
        self.assertNotIn("changed: partition", self.log())
        moved = self.system.good("cat", f"{_LOG['file']}.1")
        self.assertIn("changed: partition", moved)
        owners = self.system.good("stat", "--format=%U", _LOG["file"], f"{_LOG['file']}.1")
        self.assertEqual(owners.split(), ["btcp", "btcp"])

    def _kill(self) -> None:
        """
        It is started anew, and is not active before it is ready.
        """
        before = self.shown("MainPID")["MainPID"]
        self.system.good("systemctl", "kill", "--kill-who=main", "--signal=KILL", "btcp")
        seen = self.await_anew(before)
        self.assertIn(("activating", "start"), seen)
        self.assertEqual(self.shown("NRestarts"), {"NRestarts": "1"})
        self.assert_serves()

    def await_anew(self, before: str) -> set[tuple[str, str]]:
        """
        @return: states that the unit had while there was a new main process.
        """
        seen = set()

        def active() -> bool:
            said = self.shown("ActiveState", "SubState", "MainPID")
            if said["MainPID"] not in (before, "0"):
                seen.add((said["ActiveState"], said["SubState"]))
            return ("active", "running") in seen

        self.await_that(active, 30, self.journal)
        return seen

    def test_restart(self) -> None:
        """
        Connections outlive a restart of the unit as it is shipped, and a daemon that hangs is
        started anew.  The log is in the journal.
        """
        self.drop_in("WatchdogSec=4")
        self.install()
        self.assert_serves()
        self.assertIn("datapath: ebpf", self.journal())
        self.assert_tables_empty(5)
        downloads = [
            self.lab.popen(CLIENT, python(DOWNLOADER, self.lab.address(front, 4), path, 0))
            for front, path in (("a", "/b/10m"), ("b", "/a/10m"))
        ]
        self.await_that(lambda: self.flows()["b"] == {"front": 1, "back": 1}, 5, self.journal)
        self.system.good("systemctl", "restart", "btcp")
        self.assertRegex(self.journal(), r"took over [1-9] front-end and [1-9] back-end flows")
        for process, path in zip(downloads, ("/b/10m", "/a/10m"), strict=True):
            self.assertEqual(process.communicate(timeout=30)[0], self.lab.content(path))
        self._assert_priorities()
        before = self.shown("MainPID")["MainPID"]
        status = self.status(before)
        self.assertEqual({status["CapPrm"], status["CapEff"]}, {_CAPABILITIES})
        self.system.good("systemctl", "kill", "--kill-who=main", "--signal=STOP", "btcp")
        self.await_anew(before)
        self.assert_serves()

    def _assert_priorities(self) -> None:
        """
        The journal tells errors from the rest.
        """
        self.write(timeouts={"linger": "long"})
        self.assertNotEqual(self.system.run("systemctl", "reload", "btcp").returncode, 0)
        self.write()
        command = ("journalctl", "--no-pager", "-o", "cat", "-u", "btcp", "-p", "err")
        errors = self.system.run(*command).stdout
        self.assertIn("configuration not reloaded", errors)
        self.assertNotIn("datapath: ebpf", errors)
