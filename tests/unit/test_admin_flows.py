# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.admin.flows}.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from btcp.admin.argument_types import Client
from btcp.admin.flows import GLANCE, FlowFilter, list_flows
from btcp.admin.protocol import PAGE
from btcp.content.contract import RequestKey
from btcp.content.http import HttpReader
from btcp.datapath.ebpf import abi
from btcp.express.service import Held
from btcp.handoff.bottom import BottomTcp
from btcp.handoff.context import Settings
from btcp.handoff.flows import AcceptedFlow, AdoptedFlow
from btcp.handoff.messages import Endpoint
from btcp.handoff.states import Accept, Adopt
from btcp.wire.options import SynOptions
from btcp.wire.segment import flow_key, reversed_key
from tests.simulation.cluster import CAPABILITIES
from tests.simulation.script import ADDRESSES
from tests.unit.back_case import ORDER
from tests.unit.express_case import BACK, CLIENT, FRONT, Made

OWN = ADDRESSES["a"][0]
NOW = 107.0


def address(number: int) -> bytes:
    """
    Of a client.
    """
    return bytes((198, 51, 100, number))


def core_with(fronts: int, backs: int = 0) -> BottomTcp:
    """
    A core with so many flows; of four clients, and handed to two nodes in turn.
    """
    settings = Settings(
        node="a", listeners={}, origins={}, place=lambda key: None, secret=b"secret" * 4
    )
    core = BottomTcp(settings, CAPABILITIES)
    for number in range(fronts):
        core.acceptor.flows.add(_front(number))
    for number in range(backs):
        core.adopter.flows.add(_back(number))
    return core


def _front(number: int) -> AcceptedFlow:
    key = flow_key(address(number % 4), 1024 + number, OWN, 80)
    return AcceptedFlow(
        number=number,
        key=key,
        back=reversed_key(key),
        listener="web",
        irs=0,
        iss=0,
        window=0,
        offered=SynOptions(),
        reader=HttpReader(100),
        started=100.0,
        state=Accept.FORWARDING if number % 2 else Accept.HANDING_OFF,
        node="bc"[number % 2],
        request_key=RequestKey("GET", "h.example", f"/{number}"),
    )


def _back(number: int) -> AdoptedFlow:
    client = Endpoint(address(number % 4), 1024 + number)
    order = evolve(ORDER, client=client, id=number)
    key = flow_key(client.address, client.port, OWN, 8080)
    return AdoptedFlow(
        peer="b",
        order=order,
        inbound=key,
        outbound=reversed_key(key),
        started=100.0,
        state=Adopt.SPLICED,
    )


def told(pieces: Iterator[bytes]) -> Any:
    """
    What the pieces say.
    """
    return json.loads(b"".join(pieces))


class ListingTests(SynchronousTestCase):
    """
    Tests for L{list_flows}.
    """

    def listed(self, core: BottomTcp, **wanted: Any) -> Any:
        return told(list_flows(core, lambda: NOW, FlowFilter(**wanted)))

    def test_nothing(self) -> None:
        self.assertEqual(self.listed(core_with(0)), {"flows": [], "cut": False})

    def test_fields(self) -> None:
        front, back = self.listed(core_with(1, 1))["flows"]
        self.assertEqual(
            front,
            {
                "role": "front",
                "client": "198.51.100.0:1024",
                "listener": "web",
                "state": "HANDING-OFF",
                "node": "b",
                "request": "GET h.example/0",
                "age": 7.0,
            },
        )
        self.assertEqual(
            back,
            {
                "role": "back",
                "client": "198.51.100.0:1024",
                "listener": "web",
                "state": "SPLICED",
                "node": "b",
                "octets": 0,
                "age": 7.0,
            },
        )

    def test_filters(self) -> None:
        core = core_with(8, 4)
        for wanted, count in (
            ({"role": "front"}, 8),
            ({"role": "back"}, 4),
            ({"node": "b"}, 8),
            ({"node": "c"}, 4),
            ({"node": "d"}, 0),
            ({"state": "FORWARDING"}, 4),
            ({"state": "SPLICED"}, 4),
            ({"listener": "other"}, 0),
            ({"client": Client(address(1), None)}, 3),
            ({"client": Client(address(1), 1025)}, 2),
            ({"client": Client(address(1), 1025), "role": "back"}, 1),
        ):
            found = self.listed(core, **wanted)
            self.assertEqual((len(found["flows"]), found["cut"]), (count, False), wanted)

    def test_limit(self) -> None:
        core = core_with(3)
        for limit, cut in ((1, True), (2, True), (3, False), (4, False)):
            found = self.listed(core, limit=limit)
            self.assertEqual((len(found["flows"]), found["cut"]), (min(limit, 3), cut))

    def test_pieces(self) -> None:
        """
        Each is about a page, and what ends or begins meanwhile is left out.
        """
        core = core_with(600)
        pieces = list_flows(core, lambda: NOW, FlowFilter())
        first = next(pieces)
        self.assertLess(len(first), PAGE + 1024)
        flows = core.acceptor.flows
        for key in list(flows.by_key)[300:]:
            del flows.by_key[key]
        flows.add(_front(5000))
        rest = list(pieces)
        self.assertGreater(len(rest), 1)
        rows = json.loads(first + b"".join(rest))["flows"]
        self.assertEqual(len(rows), 300)

    def test_glance(self) -> None:
        """
        Looking for what is not there is cut into pieces as well.
        """
        core = core_with(2 * GLANCE + 1)
        pieces = list(list_flows(core, lambda: NOW, FlowFilter(node="d")))
        self.assertEqual(len(pieces), 3)
        self.assertEqual(json.loads(b"".join(pieces)), {"flows": [], "cut": False})


MADE = Made(node=2, lease=3)
HELD = (
    Held("front", MADE.front, "b"),
    Held("back", MADE.outbound, "c"),
    Held("front", evolve(MADE, port=9, closing=abi.OVER).front, None),
)


class ElsewhereTests(SynchronousTestCase):
    """
    Connections of which the core does not know.
    """

    def setUp(self) -> None:
        self.core = core_with(1)
        self.core.context.settings = evolve(
            self.core.context.settings,
            listeners={FRONT + b"\0\x50": "web"},
            origins={("other", 4): (BACK, 8081), ("web", 4): (BACK, 8080)},
        )

    def listed(self, **wanted: Any) -> Any:
        return told(list_flows(self.core, lambda: NOW, FlowFilter(**wanted), iter(HELD)))

    def test_fields(self) -> None:
        """
        After those that it knows; who asked for what, since when, nobody has kept.
        """
        _, front, back, over = self.listed()["flows"]
        both: dict[str, Any] = {"client": "192.0.2.7:1000", "listener": "web", "age": None}
        state: dict[str, Any] = {"state": "FORWARDING", "node": "b", "request": None}
        self.assertEqual(front, {"role": "front", **both, **state})
        state = {"state": "SPLICED", "node": "c", "octets": 40}
        self.assertEqual(back, {"role": "back", **both, **state})
        self.assertEqual((over["state"], over["node"]), ("CLOSED", None))

    def test_filters(self) -> None:
        for wanted, count in (
            ({"role": "front"}, 3),
            ({"role": "back"}, 1),
            ({"node": "b"}, 2),
            ({"state": "SPLICED"}, 1),
            ({"listener": "web"}, 4),
            ({"listener": "other"}, 0),
            ({"client": Client(CLIENT, None)}, 3),
            ({"client": Client(CLIENT, 9)}, 1),
        ):
            self.assertEqual(len(self.listed(**wanted)["flows"]), count, wanted)

    def test_limit(self) -> None:
        for limit, cut in ((3, True), (4, False)):
            found = self.listed(limit=limit)
            self.assertEqual((len(found["flows"]), found["cut"]), (limit, cut))
