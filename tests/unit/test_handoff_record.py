# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.handoff.record}, and that each connection is on record, once.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from btcp.handoff.actions import Event
from btcp.handoff.messages import Endpoint, Reason
from btcp.wire.segment import ACK, FIN, RST
from tests.simulation.cluster import PORT
from tests.simulation.script import ADDRESSES, CLIENTS
from tests.unit import front_case as case

WHO = {
    "client": Endpoint(CLIENTS[0], 51515),
    "front": Endpoint(ADDRESSES["a"][0], PORT),
    "listener": "web",
}

_OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
_NOBODYS = b"GET /nobody HTTP/1.1\r\nHost: h.example\r\n\r\n"


class RecordTests(case.FrontCase):
    def setUp(self) -> None:
        self.begin(rule=lambda key: "/b/")

    def noted(self) -> list[tuple[Event, dict[str, Any]]]:
        return [(note.event, note.fields) for note in self.script.notes]

    def only(self, event: Event) -> dict[str, Any]:
        """
        The fields of the only note, which is of this event.
        """
        ((its, fields),) = self.noted()
        self.assertEqual(its, event)
        self.assertEqual({name: fields[name] for name in WHO}, WHO)
        return fields

    def test_decision(self) -> None:
        self.establish()
        self.script.wait(0.5)
        self.script.take(self.client.but(payload=case.REQUEST))
        self.script.wait(0.25)
        self.adopted()
        fields = self.only(Event.HANDED_OFF)
        self.assertEqual(str(fields["request"]), "GET h.example/b/")
        self.assertEqual((fields["rule"], fields["node"]), ("/b/", "b"))
        self.assertEqual((fields["handoff_seconds"], fields["seconds"]), (0.25, 0.75))
        self.assertEqual(fields["adoption"], "replay")

    def test_adopted_by_cookie(self) -> None:
        self.request()
        self.adopted(isn=self.iss)
        self.assertEqual(self.only(Event.HANDED_OFF)["adoption"], "cookie")

    def ended(self) -> dict[str, Any]:
        """
        The fields of the last note, the only one of an end.
        """
        ends = [fields for event, fields in self.noted() if event is Event.ENDED]
        self.assertEqual(len(ends), 1)
        self.assertEqual({name: ends[0][name] for name in WHO}, WHO)
        return ends[0]

    def test_closed(self) -> None:
        """
        Both FINs take a number; they are no octets.
        """
        self.forward()
        self.script.wait(2)
        client_next = (case.IRS + 1 + len(case.REQUEST) + 1) % 2**32
        self.terminate(client_next=client_next, server_next=(self.iss + 1 + 5000 + 1) % 2**32)
        fields = self.ended()
        self.assertEqual(fields["octets_in"], len(case.REQUEST))
        self.assertEqual(fields["octets_out"], 5000)
        self.assertEqual((fields["node"], fields["reason"]), ("b", "closed"))
        self.assertEqual((fields["seconds"], fields["rule"]), (2.0, "/b/"))
        self.script.wait(60)
        self.ended()

    def test_lost_node(self) -> None:
        """
        It says nothing any more: what passed here is what is known.
        """
        self.forward()
        self.script.take(self.after.but(ack=self.iss + 1 + 300))
        self.script.do(self.script.core.peer_lost("b", self.script.now))
        fields = self.ended()
        self.assertEqual((fields["octets_in"], fields["octets_out"]), (len(case.REQUEST), 300))
        self.assertEqual(fields["reason"], Reason.LINK_LOST.value)

    def test_reset_before_the_request(self) -> None:
        self.establish()
        self.script.take(self.client.but(flags=RST))
        fields = self.ended()
        self.assertEqual(fields["reason"], "reset-by-client")
        self.assertIsNone(fields["request"])
        self.assertIsNone(fields["adoption"])

    def test_reset_while_it_is_handed_off(self) -> None:
        self.request()
        self.script.take(self.after.but(flags=RST))
        self.assertEqual(self.ended()["reason"], "reset-by-client")

    def test_answered(self) -> None:
        self.establish()
        (answer,) = self.script.take(self.client.but(payload=_NOBODYS))
        self.assertEqual(self.only(Event.ANSWERED)["status"], 404)
        seq, ack = case.IRS + 1 + len(_NOBODYS), answer.seq + len(answer.payload) + 1
        self.script.take(self.client.but(seq=seq, ack=ack, flags=FIN | ACK))
        fields = self.ended()
        self.assertEqual(fields["octets_in"], len(_NOBODYS))
        self.assertEqual(fields["octets_out"], len(answer.payload))
        self.assertEqual(fields["reason"], "closed")

    def test_answer_that_nobody_takes(self) -> None:
        self.establish()
        self.script.take(self.client.but(payload=_NOBODYS))
        self.script.wait(120)
        self.assertEqual(self.ended()["reason"], "idle")
        self.assertEqual(self.ended()["octets_out"], 0)

    def test_reference(self) -> None:
        """
        C{docs/operations.md} knows every field, and no other.
        """
        self.forward()
        self.terminate()
        known = {name for _, fields in self.noted() for name in fields} - {"request"}
        known |= {"time", "level", "logger", "event", "status"}
        known |= {"method", "host", "path", "sni"}  # of the request
        section = _OPERATIONS.read_text().partition("## Records of connections")[2]
        rows = re.findall(r"^\| (`.*?) \|", section.partition("\n## ")[0], re.MULTILINE)
        self.assertEqual({name for row in rows for name in re.findall("`(.*?)`", row)}, known)

    def test_half_open_connections_are_none(self) -> None:
        self.open()
        self.script.wait(60)
        self.assertEqual(self.noted(), [])
