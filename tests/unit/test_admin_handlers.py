# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.admin.handlers}, L{btcp.admin.views} and L{btcp.admin.recent_errors}.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable
from ipaddress import ip_address
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from btcp.admin.handlers import DEFAULT_TRACE, LOOK_TIME, CommandFailed, Outcome
from btcp.admin.levels import Level
from btcp.admin.protocol import Status
from btcp.admin.recent_errors import KEPT, RecentErrors
from btcp.admin.syntax import FORMS, read
from btcp.admin.views import troubles
from btcp.handoff.messages import Endpoint
from tests.unit.admin_case import Scene, joined

CLIENT = ip_address("198.51.100.7").packed


class OrdersTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.scene = Scene()
        self.node = self.scene.node

    def order(self, line: str) -> Any:
        """
        @return: what an order that is done at once says.
        """
        return json.loads(joined(self.outcome(line).pieces))

    def outcome(self, line: str) -> Outcome:
        outcome = self.scene.commands.execute(read(line), Level.ADMIN)
        assert isinstance(outcome, Outcome)
        self.assertIs(outcome.status, Status.DONE)
        return outcome

    def fails(self, line: str, words: str) -> None:
        error = self.assertRaises(CommandFailed, self.outcome, line)
        self.assertIn(words, str(error))


class LookingTests(OrdersTestCase):
    def test_every_form(self) -> None:
        """
        There is something to do for each.
        """
        self.assertEqual(set(self.scene.commands._do), {form.name for form in FORMS})

    def test_nodes(self) -> None:
        self.assertEqual([row["node"] for row in self.order("show nodes")["nodes"]], ["a", "b"])

    def test_map(self) -> None:
        self.assertEqual(
            self.order("show map"),
            {
                "map": [
                    {"host": "h.example", "path": "/", "nodes": ["b"]},
                    {"host": "*", "path": "/", "nodes": ["a", "b"]},
                    {"host": "*", "path": "/a/", "nodes": ["a"]},
                ]
            },
        )

    def test_config(self) -> None:
        """
        All of the file's keys, defaults included, but for the map.
        """
        config = self.order("show config")["config"]
        self.assertEqual(config["nodes"]["b"]["addresses"], ["192.0.2.12"])
        self.assertEqual(config["nodes"]["b"]["control"], "192.0.2.12:7311")
        web = {
            "port": 80,
            "addresses": [],
            "origin": 8080,
            "health": None,
            "content": "http",
            "retry": [],
        }
        self.assertEqual(config["listeners"]["web"], web)
        self.assertEqual(config["control"]["insecure"], True)
        self.assertEqual(config["timeouts"]["half-closed"], 120.0)

    def test_errors(self) -> None:
        self.scene.recent.append({"text": "oh"})
        self.assertEqual(
            self.order("show errors"),
            {"counters": {"dropped.truncated": 1}, "log": [{"text": "oh"}]},
        )

    def test_others(self) -> None:
        self.assertEqual(self.order("show stats")["counters"], self.node.counters)
        self.assertEqual(self.order("show peers")["peers"][0]["node"], "b")
        self.assertEqual(self.order("show flows"), {"flows": [], "cut": False})
        self.assertEqual(self.order("show trace"), {"trace": {"state": "none"}})
        self.assertEqual(self.order("quit"), {})
        self.assertEqual(len(self.order("help")["commands"]), len(FORMS))

    def test_info(self) -> None:
        """
        It says what whoever asks may do.
        """
        outcome = self.scene.commands.execute(read("show info"), Level.OPERATOR)
        assert isinstance(outcome, Outcome)
        info = json.loads(joined(outcome.pieces))["info"]
        self.assertEqual(info, {"node": "a", "version": "0", "level": "operator"})

    def test_troubles(self) -> None:
        counters = {"accept.syn": 5, "handoff.refused.overload": 2, "lost.ENOBUFS": 0}
        self.assertEqual(troubles(counters), {"handoff.refused.overload": 2})


class DoingTests(OrdersTestCase):
    def test_set(self) -> None:
        self.assertEqual(self.order("set node b drain")["nodes"][0]["admin"], "drain")
        self.assertEqual(self.order("set weight b 25%")["nodes"][0]["weight"], 0.25)
        for line in ("set node x drain", "set weight x 1%"):
            self.fails(line, "there is no node x")

    def test_shutdown_flow(self) -> None:
        shut = self.order("shutdown flow 198.51.100.7:1024")
        self.assertEqual(shut, {"client": "198.51.100.7:1024", "shut": 1})
        self.assertEqual(self.node.shut, [Endpoint(CLIENT, 1024)])
        self.fails("shutdown flow 198.51.100.7:1025", "no flow of 198.51.100.7:1025")

    def test_clear_counters(self) -> None:
        self.assertEqual(self.order("clear counters"), {"cleared": 2})

    def test_trace(self) -> None:
        self.order("trace start /x client 198.51.100.7:1024 listener web max 1k")
        self.assertEqual(self.scene.tracer.begun, [("/x", (CLIENT, 1024), {80, 8080}, 1024)])
        self.fails("trace start /x", "a trace is running")
        self.order("trace stop")
        self.fails("trace stop", "no trace is running")
        self.order("trace start /y")
        self.assertEqual(self.scene.tracer.begun, [("/y", None, set(), DEFAULT_TRACE)])

    def test_trace_that_cannot_be(self) -> None:
        self.fails("trace start /full", "/full: No space left on device")
        self.fails("trace start /x listener wap", "there is no listener wap; known: web")

    def test_reload(self) -> None:
        self.assertEqual(self.order("reload"), {"changed": ["limits.flows"]})
        self.node.problem = RuntimeError("node.yaml:3: nonsense")
        self.fails("reload", "node.yaml:3: nonsense")


class WaitTests(OrdersTestCase):
    def wait(self, line: str) -> Deferred[Outcome]:
        answer = self.scene.commands.execute(read(line), Level.OPERATOR)
        assert isinstance(answer, Awaitable)

        async def waiting() -> Outcome:
            return await answer

        return Deferred.fromCoroutine(waiting())

    def said(self, waiting: Deferred[Outcome]) -> tuple[Status, Any]:
        outcome = self.successResultOf(waiting)
        return outcome.status, json.loads(joined(outcome.pieces))

    def drain(self, drained: bool) -> None:
        row = self.node.membership.rows["b"]
        row |= {"admin": "drain", "drained": drained, "fronts": 0, "backs": 0 if drained else 2}

    def test_until_it_is(self) -> None:
        self.drain(False)
        waiting = self.wait("wait drained b 30s")
        self.scene.clock.pump([LOOK_TIME] * 5)
        self.assertNoResult(waiting)
        self.drain(True)
        self.scene.clock.advance(LOOK_TIME)
        self.assertEqual(
            self.said(waiting),
            (
                Status.DONE,
                {"node": "b", "fronts": 0, "backs": 0, "drained": True, "seconds": 1.2},
            ),
        )
        self.assertEqual(self.scene.clock.getDelayedCalls(), [])

    def test_in_vain(self) -> None:
        self.drain(False)
        waiting = self.wait("wait drained b 1s")
        self.scene.clock.pump([LOOK_TIME] * 4)
        self.assertNoResult(waiting)
        self.scene.clock.pump([LOOK_TIME] * 2)
        status, said = self.said(waiting)
        self.assertIs(status, Status.FAILED)
        self.assertEqual((said["drained"], said["backs"]), (False, 2))

    def test_ready(self) -> None:
        """
        It would wait for ever; also if somebody thinks better of it meanwhile.
        """
        self.assertIn("b is ready", self.failed(self.wait("wait drained b")))
        self.drain(False)
        waiting = self.wait("wait drained b")
        self.node.membership.rows["b"]["admin"] = "ready"
        self.scene.clock.advance(LOOK_TIME)
        self.assertIn("set node b drain", self.failed(waiting))

    def test_unknown(self) -> None:
        self.assertIn("there is no node x", self.failed(self.wait("wait drained x")))

    def failed(self, waiting: Deferred[Outcome]) -> str:
        return str(self.failureResultOf(waiting, CommandFailed).value)

    def test_given_up(self) -> None:
        self.drain(False)
        waiting = self.wait("wait drained b")
        waiting.addErrback(lambda failure: None)
        waiting.cancel()
        self.assertEqual(self.scene.clock.getDelayedCalls(), [])


class RecentTests(SynchronousTestCase):
    """
    Tests for L{RecentErrors}.
    """

    def setUp(self) -> None:
        self.recent = RecentErrors()
        self.recent.startService()
        self.addCleanup(self.recent.stopService)
        self.log = Logger()

    def test_what_is_kept(self) -> None:
        self.log.info("fine")
        self.log.warn("{what} is odd", what="this")
        self.log.error("bad\nTraceback")
        shown = self.recent.show()
        self.assertEqual([each["text"] for each in shown], ["this is odd", "bad"])
        self.assertEqual([each["level"] for each in shown], ["warn", "error"])

    def test_bounded(self) -> None:
        for number in range(KEPT + 5):
            self.log.warn("{number} " + "x" * 10_000, number=number)
        shown = self.recent.show()
        self.assertEqual(len(shown), KEPT)
        self.assertTrue(str(shown[0]["text"]).startswith("5 x"))
        self.assertLess(len(str(shown)), KEPT * 1000)
