# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.lab.topology}.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from btcp.config import load
from btcp.lab.topology import CLIENT, NODES, ROUTER, addresses, node_yaml, url

DOCUMENTATION = [ip_network(net) for net in ("192.0.2.0/24", "198.51.100.0/24", "2001:db8::/32")]


class AddressesTests(SynchronousTestCase):
    def test_documentation_only(self) -> None:
        for host in (CLIENT, ROUTER, *NODES):
            for address in map(ip_address, addresses(host)):
                self.assertTrue(any(address in net for net in DOCUMENTATION), address)

    def test_distinct(self) -> None:
        hosts = (CLIENT, ROUTER, *NODES)
        self.assertEqual(len({addresses(host) for host in hosts}), len(hosts))

    def test_url(self) -> None:
        self.assertEqual(url("a", 4, "/b/1k"), "http://192.0.2.11/b/1k")
        self.assertEqual(url("b", 6, "/", 8080), "http://[2001:db8:2::12]:8080/")


class NodeYamlTests(SynchronousTestCase):
    def test_every_node_loads(self) -> None:
        for node in "abc":
            config = load(self._write(node_yaml(node, Path("/run/x"), "abc")))
            self.assertEqual((config.node, config.run), (node, "/run/x"))
            self.assertEqual(set(config.nodes), {"a", "b", "c"})
            self.assertEqual([web.origin for web in config.listeners], [8080])

    def test_overrides(self) -> None:
        text = node_yaml("a", Path("/run/x"), "ab", {"window-scale": 3, "limits": {"flows": 9}})
        config = load(self._write(text))
        self.assertEqual((config.window_scale, config.limits.flows), (3, 9))

    def test_override_removes(self) -> None:
        self.assertNotIn("run:", node_yaml("a", Path("/run/x"), "a", {"run": None}))

    def _write(self, text: str) -> str:
        path = Path(self.mktemp())
        path.write_text(text)
        return str(path)
