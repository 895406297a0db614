# SPDX-License-Identifier: MIT
"""
The host is changed under a running node: its firewall is reloaded, a tc hook or a device goes, a
device is made anew, sysctls are applied again, the MTU is lowered.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from btcp.lab.topology import CLIENT, url
from btcp.node.host_watch import PATIENCE
from tests.integration.standing import ClusterTestCase
from tests.modes import EBPF_COOKIE, EBPF_REPLAY, EXPRESS, in_every_mode, in_modes
from tests.parallel import slot

_CONFIG: Mapping[str, object] = {
    "control": {"insecure": True, "heartbeat": 0.5},
    "timeouts": {"linger": 0.5, "link-grace": 1.0},
}
_BACK = 2.0
"""Seconds after which the node has to answer again."""

_SLACK = 3.0
"""Seconds for processes to start and for a machine that is busy with other things."""

_TRAFFIC = Path(__file__).with_name("traffic.py")
_CLIENTS, _DOWNLOADS = 20, 5


class HostChangeTestCase(ClusterTestCase):
    """
    Each damage is done to the front-end and to the back-end, under traffic.
    """

    prefix: ClassVar[str] = f"host{slot()}"
    config: ClassVar[Mapping[str, object]] = _CONFIG

    def run_on(self, host: str, *command: str) -> None:
        done = self.lab.exec(host, command)
        self.assertEqual(done.returncode, 0, done.stderr.decode())

    @contextmanager
    def traffic(self) -> Iterator[None]:
        """
        Keep-alive clients and downloads, through node C{a} to node C{b}.  Connections of theirs
        may break, but none may hang.
        """
        command = [sys.executable, str(_TRAFFIC), self.lab.address("a", 4), "/b/1k", "/b/10m"]
        command += [str(_CLIENTS), str(_DOWNLOADS)]
        running = self.lab.popen(CLIENT, command, stdin=subprocess.PIPE)
        assert running.stdout is not None
        self.assertEqual(running.stdout.readline(), b"running\n")
        yield
        output, errors = running.communicate(b"\n", timeout=60)
        self.assertEqual(running.returncode, 0, errors.decode())
        self.traffic_report = output.decode()

    def await_answer(self, family: int) -> float:
        """
        @return: seconds until a new connection was answered.
        """
        began = time.monotonic()
        command = ["curl", "-s", "-m", "0.5", "-o", "/dev/null", "-w", "%{http_code}"]

        def answered() -> bool:
            return self.lab.exec(CLIENT, [*command, url("a", family, "/b/1k")]).stdout == b"200"

        self.await_that(
            answered, _BACK + _SLACK, lambda: self.logged("a")[-1500:] + self.logged("b")[-1500:]
        )
        return time.monotonic() - began

    def assert_recovers(
        self, damage: Callable[[str], None], said: str, counter: str, undo: Callable[[str], None]
    ) -> None:
        """
        @param damage: does it to a node.
        @param said: words of the line that the node logs.
        @param counter: which the node moves.
        """
        for node in "ab":
            try:
                with self.traffic():
                    damage(node)
                    for family in (4, 6):
                        self.await_answer(family)
                    self.await_that(
                        lambda node=node: said in self.logged(node),  # type: ignore[misc]
                        _BACK + _SLACK,
                        lambda node=node: self.logged(node),  # type: ignore[misc]
                    )
            finally:
                undo(node)
            self.assertGreater(self.moved(node)[counter], 0, self.logged(node))
        self.assert_answers_steadily()
        self.assert_sound()

    def assert_answers_steadily(self) -> None:
        """
        All nodes answer through all others, twenty times each.
        """
        for front in "ab":
            urls = [url(front, family, f"/{back}/1k") for family in (4, 6) for back in "abc"] * 5
            format = "%{http_code}\n"
            command = ["curl", "-s", "-m", "5", "-H", "Connection: close", "-w", format]
            outputs = [word for each in urls for word in ("-o", "/dev/null", each)]
            codes = self.lab.exec(CLIENT, [*command, *outputs]).stdout.split()
            self.assertEqual(codes, [b"200"] * len(urls), front)


@in_every_mode
class HostChangeTests(HostChangeTestCase):
    """
    Damage to the parts that every datapath puts into the host.
    """

    def test_tap_device_is_deleted(self) -> None:
        self.assert_recovers(
            lambda node: self.run_on(node, "ip", "link", "delete", "dev", "btcp0"),
            "device btcp0 had been deleted",
            "host.repaired.tap",
            lambda node: None,
        )

    def test_tap_device_is_down(self) -> None:
        self.assert_recovers(
            lambda node: self.run_on(node, "ip", "link", "set", "dev", "btcp0", "down"),
            "device btcp0 was down",
            "host.repaired.tap",
            lambda node: None,
        )

    def test_device_is_made_anew(self) -> None:
        self.assert_recovers(
            self.lab.network.renew,
            "device eth0 had been made anew",
            "host.repaired.device",
            lambda node: None,
        )

    def test_source_check_becomes_strict(self) -> None:
        self.assert_recovers(
            lambda node: self.run_on(node, "sysctl", "-q", "net.ipv4.conf.all.rp_filter=1"),
            "rp_filter was 1 (strict)",
            "host.repaired.sysctl",
            lambda node: None,
        )


class RulesetTests(HostChangeTestCase):
    """
    Damage to the rules of the raw datapath.
    """

    def test_repair_is_impossible(self) -> None:
        """
        The number of C{btcp0} is another device's by now: the daemon says so, and ends, so that
        its supervisor starts it anew.
        """
        pid = self.lab.daemon_pid("b")
        assert pid is not None
        shown = self.lab.exec("b", ["ip", "-json", "link", "show", "dev", "btcp0"]).stdout
        index = str(json.loads(shown)[0]["ifindex"])
        os.kill(pid, signal.SIGSTOP)  # or it would repair it before the number is taken
        self.run_on("b", "ip", "link", "delete", "dev", "btcp0")
        self.run_on("b", "ip", "link", "add", "taken", "index", index, "type", "bridge")
        os.kill(pid, signal.SIGCONT)
        self.addCleanup(self.run_on, "b", "ip", "link", "delete", "dev", "taken")
        self.await_that(
            lambda: self.lab.daemon_pid("b") is None, PATIENCE + 10, lambda: self.logged("b")
        )
        self.assertIn("this node cannot go on, and ends: device btcp0", self.logged("b"))

    def test_ruleset_is_flushed(self) -> None:
        """
        C{nft flush ruleset} is the first line of Debian's C{/etc/nftables.conf}.
        """
        self.assert_recovers(
            lambda node: self.run_on(node, "nft", "flush", "ruleset"),
            "table netdev btcp had been removed",
            "host.repaired.table",
            lambda node: None,
        )

    def test_chain_is_flushed(self) -> None:
        self.assert_recovers(
            lambda node: self.run_on(node, "nft", "flush", "chain", "netdev", "btcp", "ingress"),
            "table netdev btcp had been changed",
            "host.repaired.table",
            lambda node: None,
        )


@in_modes(EBPF_COOKIE, EXPRESS)
class HookTests(HostChangeTestCase):
    """
    Damage to the tc programs of the datapaths in the kernel.
    """

    mode = EBPF_REPLAY

    def assert_hooks_recover(self, *command: str) -> None:
        self.assert_recovers(
            lambda node: self.run_on(node, "tc", *command),
            "was no longer attached to",
            "host.repaired.filter",
            lambda node: None,
        )

    def test_hook_is_removed(self) -> None:
        self.assert_hooks_recover("qdisc", "delete", "dev", "eth0", "clsact")

    def test_ingress_filter_is_removed(self) -> None:
        self.assert_hooks_recover("filter", "delete", "dev", "eth0", "ingress")

    def test_egress_filter_is_removed(self) -> None:
        self.assert_hooks_recover("filter", "delete", "dev", "eth0", "egress")


@in_modes(EXPRESS)
class AdoptionHookTests(HostChangeTestCase):
    """
    Damage to adoption by cookie.
    """

    mode = EBPF_COOKIE

    def test_filter_of_the_tap_device_is_removed(self) -> None:
        self.assert_recovers(
            lambda node: self.run_on(node, "tc", "qdisc", "delete", "dev", "btcp0", "clsact"),
            "program btcp_adopt was no longer attached to btcp0",
            "host.repaired.filter",
            lambda node: None,
        )

    def test_cookies_are_turned_off(self) -> None:
        """
        The node adopts by replay until they are on again.
        """
        self.assert_recovers(
            lambda node: self.run_on(node, "sysctl", "-q", "net.ipv4.tcp_syncookies=0"),
            "tcp_syncookies on -> off",
            "host.changed",
            lambda node: self.turn_on(node),
        )

    def turn_on(self, node: str) -> None:
        self.run_on(node, "sysctl", "-q", "net.ipv4.tcp_syncookies=1")
        self.await_that(
            lambda: "tcp_syncookies off -> on" in self.logged(node), 5, lambda: self.logged(node)
        )


@in_every_mode
class FactsTests(HostChangeTestCase):
    """
    Changes of the settings that were read from the host at start.
    """

    def promised(self, family: int) -> str:
        """
        @return: the options of the SYN/ACK of a new connection to node C{a}, as tcpdump shows them.
        """
        port = 80
        with self.lab.capture(CLIENT, f"tcp src port {port} or (ip6 and src port {port})") as pcap:
            self.await_answer(family)
        shown = self.lab.exec(CLIENT, ["tcpdump", "-nr", str(pcap)]).stdout.decode()
        return next(line for line in shown.splitlines() if "Flags [S.]" in line)

    def test_mtu_is_lowered_and_raised(self) -> None:
        """
        Every node promises what all can carry.
        """
        for mtu in (1400, 1500):
            self.run_on("b", "ip", "link", "set", "dev", "eth0", "mtu", str(mtu))
            for family, headers in ((4, 40), (6, 60)):
                self.await_that(
                    lambda f=family, mss=mtu - headers: (  # type: ignore[misc]
                        f"mss {mss}," in self.promised(f)
                    ),
                    _BACK + _SLACK,
                    lambda f=family: self.promised(f),  # type: ignore[misc]
                )
            self.assertIn("mtu ", self.logged("b"))
        self.assert_answers_steadily()
        self.assert_sound()

    def test_tcp_options_are_turned_off_and_on(self) -> None:
        def options(on: int) -> None:
            names = "tcp_sack", "tcp_timestamps"
            self.run_on("b", "sysctl", "-q", *(f"net.ipv4.{name}={on}" for name in names))

        try:
            options(0)
            self.await_that(
                lambda: "TS val" not in (line := self.promised(4)) and "sackOK" not in line,
                _BACK + _SLACK,
                lambda: self.promised(4),
            )
            self.assert_answers_steadily()
        finally:
            options(1)
        self.await_that(
            lambda: "TS val" in self.promised(4), _BACK + _SLACK, lambda: self.promised(4)
        )
        self.assert_answers_steadily()
        self.assert_sound()
