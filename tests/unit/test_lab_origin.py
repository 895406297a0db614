# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.lab.origin}.
"""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from btcp.lab.origin import SIZES, Request, requests, write_content


class ContentTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        write_content(self.directory, "ab")

    def test_sizes(self) -> None:
        for part in ("a", "b", "shared"):
            for name, size in SIZES.items():
                self.assertEqual((self.directory / part / name).stat().st_size, size)

    def test_parts_differ(self) -> None:
        contents = {(self.directory / part / "1k").read_bytes() for part in ("a", "b", "shared")}
        self.assertEqual(len(contents), 3)

    def test_same_every_time(self) -> None:
        again = Path(self.mktemp())
        write_content(again, "a")
        for name in ("index.html", *SIZES):
            one, other = self.directory / "a" / name, again / "a" / name
            self.assertEqual(one.read_bytes(), other.read_bytes())


class RequestsTests(SynchronousTestCase):
    LINE = (
        '{"client":"198.51.100.10","port":48020,"time":1795345941.705,"method":"GET",'
        '"uri":"/a/\\u00e9","status":"%s","sent":1024,"connection":1,"request":2}\n'
    )

    def read(self, text: str) -> list[Request]:
        home = Path(self.mktemp())
        home.mkdir()
        (home / "access.log").write_text(text)
        return requests(home)

    def test_line(self) -> None:
        self.assertEqual(
            self.read(self.LINE % "200"),
            [
                Request(
                    client="198.51.100.10",
                    port=48020,
                    time=1795345941.705,
                    method="GET",
                    uri="/a/é",
                    status=200,
                    sent=1024,
                    connection=1,
                    request=2,
                )
            ],
        )

    def test_no_status_sent(self) -> None:
        self.assertEqual([request.status for request in self.read(self.LINE % "000")], [0])

    def test_empty(self) -> None:
        self.assertEqual(self.read(""), [])
