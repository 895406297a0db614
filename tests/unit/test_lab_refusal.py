# SPDX-License-Identifier: MIT
"""
Tests for what a lab says where it cannot stand, and to names it cannot have.
"""

from __future__ import annotations

import os
import shutil

from twisted.trial.unittest import SynchronousTestCase

from btcp.lab import programs
from btcp.lab.cluster import Lab
from btcp.lab.network import Network
from btcp.lab.programs import LabError, missing, run


class MissingTests(SynchronousTestCase):
    def test_no_root(self) -> None:
        self.patch(os, "geteuid", lambda: 1000)
        self.assertEqual(missing(), ["root is missing: the lab makes network namespaces"])
        error = self.assertRaises(LabError, Lab("unittest").up)
        self.assertEqual(str(error), missing()[0])
        self.assertRaises(LabError, Lab("unittest").down)

    def test_no_program(self) -> None:
        self.patch(os, "geteuid", lambda: 0)
        self.patch(shutil, "which", lambda program, path: None if program == "nft" else program)
        self.assertEqual(missing(), ["nft is missing: apt-get install nftables"])

    def test_kernel(self) -> None:
        self.patch(os, "geteuid", lambda: 0)
        self.patch(shutil, "which", lambda program, path: program)
        self.patch(os.path, "exists", lambda path: False)
        self.patch(programs, "run", self.refuse_nft)
        self.assertEqual(missing(daemons=False), [])
        self.assertEqual(
            [line.split(" is missing")[0] for line in missing(daemons=True)],
            ["/dev/net/tun", "the nftables netdev egress hook"],
        )

    def refuse_nft(self, argv: list[str], stdin: bytes) -> bytes:
        if "nft" in argv:
            raise LabError("Operation not supported")
        return b""


class NameTests(SynchronousTestCase):
    def test_prefix(self) -> None:
        for prefix in ("", "Btcp", "btcp-x", "../x", "a b"):
            self.assertRaises(LabError, Lab, prefix)

    def test_host(self) -> None:
        network = Network("unittest", ("a",))
        for host in ("", "z", "..", "client/x"):
            self.assertRaises(LabError, network.namespace, host)

    def test_nothing_stands(self) -> None:
        error = self.assertRaises(LabError, Lab.standing, "unittest")
        self.assertIn("btcp lab up", str(error))
        self.assertRaises(LabError, Lab("unittest").command, "a", ["true"])


class RunTests(SynchronousTestCase):
    def test_output(self) -> None:
        self.assertEqual(run(["cat"], b"text"), b"text")

    def test_failure_says_why(self) -> None:
        error = self.assertRaises(LabError, run, ["sh", "-c", "echo because >&2; exit 3"])
        self.assertIn("because", str(error))

    def test_absent(self) -> None:
        error = self.assertRaises(LabError, run, ["does-not-exist"])
        self.assertEqual(str(error), "does-not-exist is missing")
