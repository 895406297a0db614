# SPDX-License-Identifier: MIT
"""
Connections to a node with a stateful firewall are slow, or are answered with 503.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from btcp.doctor.network import origin_rules
from btcp.lab.topology import CLIENT, url
from tests.integration.standing import ClusterTestCase
from tests.modes import in_every_mode
from tests.parallel import slot

_CONFIG: Mapping[str, object] = {
    "control": {"insecure": True, "heartbeat": 0.5},
    "timeouts": {"linger": 0.5, "link-grace": 1.0},
}
# Control connections are older than the connection tracking, so they are left out.
_NOT_SYN = (
    "tcp dport { 80, 8080 } tcp flags & (fin | syn | rst | ack) != syn ct state new counter drop"
)
_CLASSIC = f"""
table inet filter {{
    chain input {{
        type filter hook input priority filter; policy accept;
        {_NOT_SYN}
    }}
}}
"""
_DEFAULT_DROP = """
table inet filter {
    chain input {
        type filter hook input priority filter; policy drop;
        iifname "lo" accept
        ct state established,related accept
        tcp dport { 80, 8080 } ct state invalid counter drop
        meta l4proto { icmp, ipv6-icmp } accept
        tcp dport { 80, 7311 } ct state new accept
        tcp dport { 80, 8080 } counter drop
    }
}
"""


@in_every_mode
class StatefulFirewallTests(ClusterTestCase):
    """
    Each firewall stands on the back-end, with the rules that the doctor says are missing.
    """

    prefix: ClassVar[str] = f"host{slot()}"
    config: ClassVar[Mapping[str, object]] = _CONFIG

    def nft(self, script: str) -> None:
        done = self.lab.exec("b", ["nft", "-f", "-"], stdin=script.encode())
        self.assertEqual(done.returncode, 0, done.stderr.decode())

    def dropped(self) -> list[int]:
        text = self.lab.exec("b", ["nft", "list", "table", "inet", "filter"]).stdout.decode()
        return [int(count) for count in re.findall(r"counter packets (\d+)", text)]

    def assert_passes(self, firewall: str) -> None:
        self.nft(firewall)
        self.addCleanup(self.nft, "delete table inet filter\n")
        rules = origin_rules([8080], ("inet filter", "input"))
        self.nft("\n".join(line.removeprefix("nft ") for line in rules).replace("'", "") + "\n")
        self.addCleanup(self.nft, "delete table inet btcp-notrack\n")
        before = self.dropped()
        for family in (4, 6):
            for front in "ab":
                urls = [url(front, family, "/b/1k")] * 10
                outputs = [word for each in urls for word in ("-o", "/dev/null", each)]
                command = ["curl", "-s", "-m", "5", "-H", "Connection: close", "-w"]
                codes = self.lab.exec(CLIENT, [*command, "%{http_code}\n", *outputs]).stdout
                self.assertEqual(codes.split(), [b"200"] * 10)
        self.assertEqual(self.dropped(), before)
        self.assert_sound()

    def test_new_but_no_syn_is_dropped(self) -> None:
        self.assert_passes(_CLASSIC)

    def test_all_but_the_allowed_is_dropped(self) -> None:
        self.assert_passes(_DEFAULT_DROP)
