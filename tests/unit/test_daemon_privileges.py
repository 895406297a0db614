# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.daemon.privileges}; what changes the process is in C{tests/integration}.
"""

from __future__ import annotations

import os
from pathlib import Path

from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from btcp import tap
from btcp.daemon import privileges
from btcp.daemon.privileges import ALL, BPF, NET_ADMIN, NET_RAW, PERFMON
from btcp.lab.topology import node_yaml

_STATUS = "Name:\ttwistd\nCapPrm:\t{0}\nCapEff:\t{0}\nCapBnd:\t000001ffffffffff\n"


class CapabilityTests(SynchronousTestCase):
    def test_held(self) -> None:
        for bits, expected in (
            ("0000000000000000", set()),
            ("000000c000003000", {NET_ADMIN, NET_RAW, PERFMON, BPF}),
            ("000001ffffffffff", set(range(41))),
        ):
            path = Path(self.mktemp())
            path.write_text(_STATUS.format(bits))
            self.assertEqual(privileges.held(path), expected)

    def test_needed(self) -> None:
        for datapath, adoption, expected in (
            ("auto", "auto", ["CAP_NET_ADMIN", "CAP_NET_RAW"]),
            ("raw", "replay", ["CAP_NET_ADMIN", "CAP_NET_RAW"]),
            ("ebpf", "auto", ["CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_BPF"]),
            ("auto", "cookie", [each.name for each in ALL]),
        ):
            needed = privileges.needed(datapath, adoption)
            self.assertEqual([each.name for each in needed], expected)

    def test_lacking(self) -> None:
        self.assertEqual(
            privileges.lacking(ALL, frozenset((NET_ADMIN, BPF))), ["CAP_NET_RAW", "CAP_PERFMON"]
        )
        self.assertEqual(privileges.lacking(ALL, frozenset(range(41))), [])

    def test_unknown_user(self) -> None:
        error = self.assertRaises(privileges.PrivilegeError, privileges.account, "no-such-user")
        self.assertEqual(str(error), "user: there is no user 'no-such-user' on this host")


class OptionsTests(SynchronousTestCase):
    """
    What C{twistd btcp} says before it begins.
    """

    def setUp(self) -> None:
        self.patch(privileges, "held", lambda: frozenset((NET_ADMIN, NET_RAW)))

    def refusal(self, **changes: object) -> str:
        path = Path(self.mktemp())
        path.write_text(node_yaml("a", Path("/run/x"), "abc", changes))
        options = tap.Options()
        error = self.assertRaises(usage.UsageError, options.parseOptions, ["-c", str(path)])
        return str(error)

    def test_names_what_is_missing(self) -> None:
        self.assertIn(
            "needs CAP_BPF, CAP_PERFMON: ", self.refusal(datapath="auto", adoption="cookie")
        )
        self.assertIn("needs CAP_BPF: ", self.refusal(datapath="ebpf"))

    def test_user(self) -> None:
        self.assertIn("no user 'no-such-user'", self.refusal(user="no-such-user"))
        self.patch(os, "geteuid", lambda: 12345)
        self.assertEqual(self.refusal(user="nobody"), "user: only root can become 'nobody'")

    def test_enough(self) -> None:
        path = Path(self.mktemp())
        path.write_text(node_yaml("a", Path("/run/x"), "abc", {"user": "root"}))
        self.patch(os, "geteuid", lambda: 0)
        options = tap.Options()
        options.parseOptions(["-c", os.path.relpath(path)])
        self.assertEqual(options.configuration.user, "root")
        os.chdir("/")
        self.addCleanup(os.chdir, Path.cwd())
        self.assertEqual(options.read(), options.configuration)
