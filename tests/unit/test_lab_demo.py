# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.lab.demo}: a row is C{ok} only if all of it is.
"""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from btcp.lab.cluster import Lab
from btcp.lab.demo import Answer, complaints

LAB = Lab("unittest")
CLIENT = "198.51.100.10"
HANDED_OFF = Answer(
    url="http://192.0.2.11/b/100k",
    front="a",
    family=4,
    holder="b",
    node="b",
    port=40000,
    body=b"x" * 100,
    problem="",
    seconds=0.01,
)


class ComplaintsTests(SynchronousTestCase):
    def told(
        self, answer: Answer, seen: str = CLIENT, crossed: int = 0, identical: bool = True
    ) -> list[str]:
        return list(complaints(LAB, answer, seen, crossed, identical))

    def test_handoff(self) -> None:
        self.assertEqual(self.told(HANDED_OFF), [])

    def test_local(self) -> None:
        local = evolve(HANDED_OFF, front="b")
        self.assertEqual(self.told(local, crossed=300), [])
        self.assertEqual(self.told(local, crossed=99), ["more was received than counted"])

    def test_proxied(self) -> None:
        self.assertEqual(self.told(HANDED_OFF, crossed=1), ["the response crossed the front-end"])

    def test_other_body(self) -> None:
        self.assertEqual(self.told(HANDED_OFF, identical=False), ["not what the node holds"])

    def test_no_answer(self) -> None:
        failed = evolve(HANDED_OFF, node="", body=b"", problem="refused")
        self.assertEqual(
            self.told(failed, seen="", identical=False), ["refused", "not answered by b"]
        )

    def test_other_node(self) -> None:
        self.assertEqual(self.told(evolve(HANDED_OFF, node="c")), ["not answered by b"])

    def test_other_client(self) -> None:
        told = self.told(HANDED_OFF, seen="192.0.2.11")
        self.assertEqual(told, ["the origin did not see the client"])
