# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.node.reload}, and for L{btcp.node.service.Node.reload} beneath it.
"""

from __future__ import annotations

from pathlib import Path

from attrs import evolve
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from btcp.cluster.state import Health
from btcp.config import (
    Check,
    Config,
    ConfigErrors,
    Credentials,
    Limits,
    Log,
    Problem,
    Timeouts,
    loads,
)
from btcp.content.contract import RequestKey
from btcp.lab.topology import node_yaml
from btcp.node.reload import RestartNeeded, differences, reloadable
from btcp.node.service import Node
from tests.simulation.cluster import CAPABILITIES
from tests.simulation.memory_datapath import MemoryDatapath


def configuration(nodes: str = "abc", **changes: object) -> Config:
    return loads(node_yaml("b", Path("/run/x"), nodes, changes), "node.yaml")


OLD = configuration()


class DifferencesTests(SynchronousTestCase):
    def assert_live(self, new: Config, *keys: str) -> None:
        self.assertEqual(reloadable(OLD, OLD, new), list(keys))

    def assert_fixed(self, new: Config, *keys: str) -> None:
        error = self.assertRaises(RestartNeeded, reloadable, OLD, OLD, new)
        self.assertEqual(error.keys, list(keys))
        self.assertEqual(
            str(error), f"only a restart can change {', '.join(keys)}; nothing was changed"
        )

    def test_nothing(self) -> None:
        self.assert_live(configuration())

    def test_order_of_listeners_and_nodes(self) -> None:
        """
        The order in the file means nothing; what differs beside it is told by its name.
        """
        (web,) = OLD.listeners
        other = evolve(web, name="alt", port=81, origin=8081)
        old = evolve(OLD, listeners=(web, other))
        nodes = dict(reversed(list(OLD.nodes.items())))
        self.assertEqual(reloadable(old, old, evolve(old, listeners=(other, web), nodes=nodes)), [])
        checked = evolve(web, health=Check(kind="tcp"))
        changed = evolve(old, listeners=(other, checked))
        self.assertEqual(reloadable(old, old, changed), ["listeners.web.health"])

    def test_rules(self) -> None:
        partition = [{"path": "/", "nodes": ["a"]}]
        self.assert_live(configuration(partition=partition), "partition")

    def test_times_and_limits(self) -> None:
        timeouts, limits = {"linger": 9, "half-closed": 9}, {"flows": 9, "request": 99}
        self.assert_live(
            configuration(timeouts=timeouts, limits=limits),
            "timeouts.half-closed",
            "timeouts.linger",
            "limits.flows",
            "limits.request",
        )

    def test_more_flows_than_at_the_start(self) -> None:
        """
        As many as then are always possible.
        """
        few = evolve(OLD, limits=Limits(flows=10))
        self.assertEqual(reloadable(OLD, few, OLD), ["limits.flows"])
        many = evolve(OLD, limits=Limits(flows=OLD.limits.flows + 1))
        error = self.assertRaises(RestartNeeded, reloadable, OLD, few, many)
        self.assertEqual(error.keys, ["limits.flows"])

    def test_further_node(self) -> None:
        new = configuration("abcd", partition=[{"path": "/", "nodes": ["d"]}])
        self.assert_live(new, "nodes.d", "partition")

    def test_weights(self) -> None:
        heavier = {**OLD.nodes, "c": evolve(OLD.nodes["c"], weight=7)}
        self.assert_live(evolve(OLD, nodes=heavier, slow_start=3.0), "nodes.c", "slow-start")

    def test_checks(self) -> None:
        """
        Of an origin; its port is another matter.
        """
        (web,) = OLD.listeners
        checked = evolve(web, health=Check(kind="tcp"))
        self.assert_live(evolve(OLD, listeners=(checked,)), "listeners.web.health")
        self.assert_fixed(evolve(OLD, listeners=(evolve(checked, origin=1),)), "listeners")

    def test_node_that_is_gone_or_elsewhere(self) -> None:
        two = {name: node for name, node in OLD.nodes.items() if name != "c"}
        self.assert_fixed(evolve(OLD, nodes=two), "nodes.c")
        other = evolve(OLD.nodes["c"], control=("192.0.2.13", 7312))
        self.assert_fixed(evolve(OLD, nodes=dict(OLD.nodes) | {"c": other}), "nodes.c")

    def test_what_a_restart_changes(self) -> None:
        listeners = {"web": {"port": 81, "origin": 8080}}
        new = configuration(listeners=listeners, datapath="auto", run="/run/y", user="btcp")
        self.assert_fixed(new, "listeners", "run", "user", "datapath")
        self.assert_fixed(evolve(OLD, window_scale=3), "window-scale")

    def test_certificates(self) -> None:
        """
        Other files need a restart; other contents of the same files do not.
        """
        files = Credentials("/c", "/k", "/a")
        new = evolve(OLD, control=evolve(OLD.control, credentials=files, heartbeat=2.0))
        self.assert_fixed(
            new, "control.certificate", "control.key", "control.authority", "control.heartbeat"
        )
        other = evolve(new, control=evolve(new.control, credentials=evolve(files, key="/l")))
        self.assertEqual(differences(new, other), ["control.key"])

    def test_log(self) -> None:
        """
        Who writes it, and where to, is decided at the start.
        """
        self.assert_live(evolve(OLD, log=Log(connections="off")), "log.connections")
        self.assert_fixed(evolve(OLD, log=Log(format="json")), "log.format")
        own = evolve(OLD, log=Log(format="json"))
        other = evolve(OLD, log=Log(format="text", level="warn"))
        self.assertEqual(reloadable(own, own, other), ["log.format", "log.level"])
        file = evolve(OLD, log=Log(format="json", file="/x"))
        self.assertRaises(RestartNeeded, reloadable, own, own, file)

    def test_fixed_beside_live(self) -> None:
        """
        Only what needs the restart is named.
        """
        new = configuration(run="/run/y", timeouts={"linger": 9})
        self.assert_fixed(new, "run")


class NodeTests(SynchronousTestCase):
    """
    A node that is not started.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        datapath = MemoryDatapath(self.clock.seconds, lambda packet: None, lambda packet: None)
        self.node = Node(
            MemoryReactorClock(),
            self.clock.seconds,
            OLD,
            datapath,
            CAPABILITIES,
            1,
            b"sixteen octets!!",
        )

    def reload(self, new: Config) -> list[str]:
        self.node.source = lambda: new
        return self.node.reload()

    def placed(self, path: str) -> list[str] | None:
        return self.node.core.context.settings.place(RequestKey("GET", "h.example", path))

    def test_map(self) -> None:
        self.assertIsNone(self.placed("/new/"))
        partition = [{"path": "/new/", "nodes": ["b"]}]
        self.assertEqual(self.reload(configuration(partition=partition)), ["partition"])
        self.assertEqual(self.placed("/new/"), ["b"])
        self.assertIsNone(self.placed("/b/"))
        rule = self.node.core.context.settings.rule
        self.assertEqual(rule(RequestKey("GET", "h.example", "/new/x")), "/new/")

    def test_settings_of_the_core(self) -> None:
        self.reload(evolve(OLD, timeouts=Timeouts(idle := 5.0), limits=Limits(flows=7)))
        settings = self.node.core.context.settings
        self.assertEqual((settings.periods.handshake, settings.max_flows), (idle, 7))
        self.assertEqual(settings.secret, b"sixteen octets!!")
        self.assertEqual(self.node.config.limits.flows, 7)

    def test_records(self) -> None:
        self.reload(evolve(OLD, log=Log(connections="off")))
        self.assertEqual(self.node.record.wanted, "off")

    def test_further_node(self) -> None:
        self.reload(configuration("abcd"))
        self.assertEqual(self.node.peers.states()["d"]["state"], "down")
        self.assertEqual(self.reload(configuration("abcd")), [])

    def test_weight(self) -> None:
        node = evolve(OLD.nodes["b"], weight=7)
        self.reload(evolve(OLD, nodes={**OLD.nodes, "b": node}))
        self.assertEqual(self.node.membership.weight_of("b"), 7)

    def test_further_node_is_a_member(self) -> None:
        """
        It gets nothing before there is a link to it, and its share when there is.
        """
        self.reload(configuration("abcd", partition=[{"path": "/", "nodes": ["d"]}]))
        self.assertFalse(self.node.membership.eligible("d"))
        self.assertEqual(self.placed("/"), [])
        self.node.peer_handler.peer_up("d", 1, CAPABILITIES)
        self.assertEqual(self.placed("/"), ["d"])

    def test_checks(self) -> None:
        """
        They begin, and when they end, nothing is known of the origin.
        """
        (web,) = OLD.listeners
        self.reload(evolve(OLD, listeners=(evolve(web, health=Check(kind="tcp")),)))
        self.node.membership.checked(Health.DOWN, "refused")
        self.reload(OLD)
        self.assertIs(self.node.membership.report().health, Health.UNCHECKED)

    def test_outcome_is_on_record(self) -> None:
        """
        Whoever asked for it.
        """

        def broken() -> Config:
            raise ZeroDivisionError

        told: list[str] = []
        self.node.reloaded = lambda: told.append("reloaded")
        with capturedLogs() as events:
            self.reload(configuration(limits={"request": 100}))
            self.assertRaises(RestartNeeded, self.reload, configuration(run="/run/y"))
            self.node.source = broken
            self.assertRaises(ZeroDivisionError, self.node.reload)
        self.assertEqual(
            [formatEvent(event) for event in events],
            [
                "configuration reloaded; changed: limits.request",
                "configuration not reloaded: only a restart can change run; nothing was changed",
                "configuration not reloaded",
            ],
        )
        self.assertEqual(told, ["reloaded"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_nothing_of_what_cannot_be(self) -> None:
        partition = [{"path": "/new/", "nodes": ["b"]}]
        new = configuration("abcd", partition=partition, run="/run/y")
        self.assertRaises(RestartNeeded, self.reload, new)
        self.assertIsNone(self.placed("/new/"))
        self.assertNotIn("d", self.node.peers.states())
        self.assertIs(self.node.config, OLD)

    def test_errors(self) -> None:
        def read() -> Config:
            raise ConfigErrors([Problem("node.yaml", 1, 1, "odd")])

        self.node.source = read
        self.assertRaises(ConfigErrors, self.node.reload)
        self.assertIs(self.node.config, OLD)
