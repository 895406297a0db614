# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.config}.
"""

from __future__ import annotations

import os
import re
from ipaddress import ip_address
from pathlib import Path

from attrs import fields
from twisted.trial.unittest import SynchronousTestCase

from btcp.config import (
    KEYS,
    Check,
    Config,
    ConfigErrors,
    Control,
    Credentials,
    Limits,
    Timeouts,
    load,
    loads,
)
from btcp.content.contract import RequestKey
from btcp.partition.contract import PolicyChoice
from btcp.partition.policy import POLICIES

ROOT = Path(__file__).parents[2]

GOOD = """\
node: a
nodes:
  a: {addresses: [192.0.2.11, "2001:db8:2::11"], control: "192.0.2.11:7311"}
  b: {addresses: [192.0.2.12, "2001:db8:2::12"], control: "[2001:db8:2::12]:7311"}
listeners:
  web: {port: 80, origin: 8080}
  vip: {port: 80, addresses: [192.0.2.100], origin: 8080}
partition:
  - {path: /, nodes: [a, b]}
  - {host: IMG.example., path: /, nodes: [b]}
control: {insecure: true}
"""


def packed(*addresses: str) -> tuple[bytes, ...]:
    """
    Addresses as a configuration holds them.
    """
    return tuple(ip_address(address).packed for address in addresses)


def changed(*replacements: tuple[str, str]) -> str:
    """
    C{GOOD} with some text replaced.
    """
    text = GOOD
    for old, new in replacements:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


class ValueTests(SynchronousTestCase):
    """
    What a file without problems becomes.
    """

    def test_values(self) -> None:
        config = loads(GOOD, "good.yaml")
        self.assertEqual(config.node, "a")
        self.assertIs(config.own, config.nodes["a"])
        self.assertEqual(list(config.nodes), ["a", "b"])
        self.assertEqual(config.own.addresses, packed("192.0.2.11", "2001:db8:2::11"))
        self.assertEqual(config.nodes["b"].control, ("2001:db8:2::12", 7311))
        self.assertEqual(config.own.weight, 100)
        self.assertEqual(
            [(one.name, one.port, one.origin) for one in config.listeners],
            [
                ("web", 80, 8080),
                ("vip", 80, 8080),
            ],
        )

    def test_defaults(self) -> None:
        config = loads(GOOD, "good.yaml")
        self.assertIsNone(config.device)
        self.assertEqual(config.run, "/run/btcp")
        self.assertEqual(config.policy, PolicyChoice("round-robin"))
        self.assertEqual(config.control, Control(None, heartbeat=1.0))
        self.assertTrue(config.control.insecure)
        self.assertEqual(config.timeouts, Timeouts())
        self.assertEqual(config.limits, Limits())
        self.assertEqual(config.window_scale, 7)

    def test_all_that_is_optional(self) -> None:
        config = loads(
            changed(("insecure: true", "insecure: true, heartbeat: 0.5"))
            + "slow-start: 4\nstate: /s\n"
            + "device: eth1\nrun: /tmp/b\npolicy: round-robin\nwindow-scale: 0\n"
            + "timeouts: {half-closed: 1.5, link-grace: 3}\nlimits: {half-open: 7}\n",
            "good.yaml",
        )
        self.assertEqual((config.device, config.run, config.window_scale), ("eth1", "/tmp/b", 0))
        self.assertEqual((config.state, config.slow_start), ("/s", 4.0))
        self.assertEqual(config.control.heartbeat, 0.5)
        self.assertEqual(config.timeouts, Timeouts(half_closed=1.5, link_grace=3.0))
        self.assertEqual(config.limits, Limits(half_open=7))

    def test_health(self) -> None:
        text = "{kind: https, status: [204, 300-399], body: ok, host: h, fast-interval: 0.1}"
        config = loads(changed(("origin: 8080", f"origin: 8080, health: {text}")), "")
        check = Check(
            kind="https", status=((204, 204), (300, 399)), body="ok", host="h", fast_interval=0.1
        )
        self.assertEqual([each.health for each in config.listeners], [check, None])

    def test_content(self) -> None:
        config = loads(changed(("origin: 8080", "origin: 8080, content: tls")), "")
        self.assertEqual([each.content for each in config.listeners], ["tls", "http"])

    def test_retry(self) -> None:
        """
        The methods are sorted, each there once.
        """
        text = "origin: 8080, retry: [PUT, DELETE, PUT]"
        config = loads(changed(("origin: 8080", text)), "")
        self.assertEqual([each.retry for each in config.listeners], [("DELETE", "PUT"), ()])

    def test_express(self) -> None:
        for text, express in (
            ("", False),
            ("express: false\nadoption: replay\n", False),
            ("express: true\n", True),
            ("express: true\ndatapath: ebpf\nadoption: cookie\n", True),
        ):
            self.assertIs(loads(GOOD + text, "good.yaml").express, express)

    def test_credentials(self) -> None:
        for more in ("", "\n  insecure: false"):
            files = f"\n  certificate: /c\n  key: /k\n  authority: /a\n  heartbeat: 3{more}\n"
            control = loads(changed((" {insecure: true}", files)), "").control
            self.assertEqual(control, Control(Credentials("/c", "/k", "/a"), 3.0))
            self.assertFalse(control.insecure)

    def test_empty_optional_sections(self) -> None:
        config = loads(GOOD + "timeouts:\nlimits:\n  # flows: 1\n", "good.yaml")
        self.assertEqual(config.timeouts, Timeouts())

    def test_listener_addresses(self) -> None:
        config = loads(GOOD, "good.yaml")
        web, vip = config.listeners
        other = config.nodes["b"]
        self.assertEqual(config.listener_addresses(web, config.own), config.own.addresses)
        self.assertEqual(config.listener_addresses(web, other), other.addresses)
        self.assertEqual(config.listener_addresses(vip, other), packed("192.0.2.100"))

    def test_partition(self) -> None:
        partition = loads(GOOD, "good.yaml").partition
        found = partition.lookup(RequestKey("GET", "img.example", "/x"))
        assert found is not None
        self.assertEqual(found.nodes, ("b",))

    def test_policies(self) -> None:
        for name in POLICIES:
            self.assertEqual(loads(GOOD + f"policy: {name}\n", "").policy, PolicyChoice(name))
        config = loads(GOOD + "policy: consistent\nbalance-factor: 125\n", "")
        self.assertEqual(config.policy, PolicyChoice("consistent", 125))

    def test_policy_of_a_rule(self) -> None:
        for said, choice in (
            ("", None),
            (", policy: least-loaded", PolicyChoice("least-loaded")),
            (", balance-factor: 101, policy: consistent", PolicyChoice("consistent", 101)),
        ):
            text = changed(("nodes: [a, b]", f"nodes: [a, b]{said}"))
            found = loads(text, "").partition.lookup(RequestKey("GET", "", "/x"))
            assert found is not None
            self.assertEqual(found.policy, choice)

    def test_partition_named_by_kind(self) -> None:
        kind = "\n  rules:\n    - {path: /, nodes: [a, b]}\n    - {host: IMG"
        text = changed(("\n  - {path: /, nodes: [a, b]}\n  - {host: IMG", kind))
        self.assertEqual(loads(text, "").partition, loads(GOOD, "").partition)

    def test_weight(self) -> None:
        for weight in (0, 1, 10_000):
            text = changed(('.11:7311"', f'.11:7311", weight: {weight}'))
            self.assertEqual(loads(text, "").own.weight, weight)

    def test_node_given(self) -> None:
        self.assertEqual(loads(GOOD, "", "b").node, "b")
        self.assertEqual(loads(changed(("node: a", "node: gone")), "", "b").node, "b")
        self.assertEqual(loads(changed(("node: a\n", "")), "", "b").node, "b")

    def test_equal_files_make_equal_values(self) -> None:
        self.assertEqual(loads(GOOD, "one"), loads(GOOD, "other"))

    def test_names_that_yaml_takes_for_something_else(self) -> None:
        text = GOOD.replace("a, b", "no, b").replace("node: a", "node: no").replace("  a:", "  no:")
        self.assertEqual(loads(text, "").own.name, "no")


class ProblemTests(SynchronousTestCase):
    """
    Every mistake is found, where it is, with what would be right.
    """

    def problems(self, text: str, node: str | None = None) -> list[str]:
        """
        What is wrong with C{text}, a line each.
        """
        error = self.assertRaises(ConfigErrors, loads, text, "f", node)
        return str(error).splitlines()

    def assert_problem(self, line: int, message: str, *replacements: tuple[str, str]) -> None:
        """
        C{GOOD} with C{replacements} has one problem.
        """
        [problem] = self.problems(changed(*replacements))
        self.assertRegex(problem, f"^f:{line}: ")
        self.assertIn(message, problem)

    def test_keys(self) -> None:
        for line, message, old, new in (
            (1, "the file: unknown key 'nod'; did you mean 'node'?", "node: a", "nod: a\nnode: a"),
            (3, "nodes.a: unknown key 'adresses'; did you mean", "addresses", "adresses"),
            (
                6,
                "listeners.web: unknown key 'x'; known: port, addresses, origin",
                "port: 80",
                "x: 1",
            ),
            (6, "listeners.web: 'port' is missing", "port: 80, ", ""),
            (3, "nodes.a: 'control' is missing", ', control: "192.0.2.11:7311"', ""),
            (9, "partition[0]: 'path' is missing", "path: /, ", ""),
            (10, "partition[1]: 'nodes' is missing", ", nodes: [b]", ""),
            (2, "the file: 'node' is already in line 1", "nodes:", "node: b\nnodes:"),
            (4, "nodes: 'a' is already in line 3", "  b:", "  a:"),
            (7, "listeners: 'web' is already in line 6", "vip:", "web:"),
            (7, "listeners: want a name of 1 to 32 of a-z", "vip:", "VIP:"),
        ):
            if message.startswith("nodes: 'a'"):
                self.assert_problem(line, message, (old, new), ("[a, b]", "[a]"), ("[b]", "[a]"))
            else:
                self.assert_problem(line, message, (old, new))

    def test_express(self) -> None:
        """
        It is done in the kernel, which adopts by cookie.
        """
        for text, *problems in (
            ("datapath: raw", "express: needs datapath 'ebpf' or 'auto'"),
            ("adoption: replay", "express: needs adoption 'cookie' or 'auto'"),
            (
                "datapath: raw\nadoption: replay",
                "express: needs datapath 'ebpf' or 'auto'",
                "express: needs adoption 'cookie' or 'auto'",
            ),
        ):
            found = self.problems(f"{GOOD}express: true\n{text}\n")
            self.assertEqual(found, [f"f:12: {problem}" for problem in problems])
        [problem] = self.problems(f"{GOOD}express: 1\n")
        self.assertEqual(problem, "f:12: express: want true or false, not '1'")

    def test_missing_sections(self) -> None:
        problems = self.problems("policy: round-robin\n")
        for section in ("nodes", "listeners", "partition"):
            self.assertIn(f"f:1: section {section!r} is missing", problems)
        self.assertEqual(len(problems), 4)  # and control.insecure

    def test_empty_sections(self) -> None:
        problems = self.problems("nodes:\nlisteners: {}\npartition: []\ncontrol: {insecure: yes}")
        self.assertEqual(
            problems,
            [
                "f:1: nodes: want at least one",
                "f:2: listeners: want at least one",
                "f:3: partition: want a list of at least one, not an empty one",
            ],
        )

    def test_shapes(self) -> None:
        for line, message, old, new in (
            (1, "node: want the name of a node, not a list", "node: a", "node: [a]"),
            (4, "nodes.b: want 'key: value' lines, not '5'", "{addresses: [192.0.2.12", "5 #"),
            (
                6,
                "listeners.web: want 'key: value' lines, not a list",
                "{port: 80, origin: 8080}",
                "[]",
            ),
            (9, "partition[0].nodes: want a list of at least one, not 'a'", "[a, b]", "a"),
            (9, "partition[0].nodes: want the name of a node, not nothing", "[a, b]", "[a, ~]"),
            (11, "control.insecure: want true or false, not '1'", "true", "1"),
            (11, "control.insecure: want true or false, not the text 'true'", "true", "'true'"),
            (11, "control: want 'key: value' lines, not 'on'", "{insecure: true}", "on"),
        ):
            self.assert_problem(line, message, (old, new))
        [problem] = self.problems(changed(("partition:", "partition: 5\nx:")))[:1]
        self.assertEqual(problem, "f:8: partition: want a list of at least one, not '5'")

    def test_numbers(self) -> None:
        for text in (
            "0",
            "65536",
            "-1",
            "080",
            "8_0",
            "0x50",
            "80.0",
            "'80'",
            "eighty",
            "",
            "9" * 99,
        ):
            self.assert_problem(
                6, "web.port: want a whole number from 1 to 65535", ("port: 80", f"port: {text}")
            )
        for section, key, text in (
            ("limits", "flows", "0"),
            ("limits", "half-open", "1e3"),
            ("limits", "request", "32769"),
            ("timeouts", "handshake", "0"),
            ("timeouts", "request", "5s"),
            ("timeouts", "linger", "-1"),
            ("timeouts", "established", ".inf"),
            ("timeouts", "established", "604801"),
            ("timeouts", "link-grace", "'1'"),
        ):
            [problem] = self.problems(GOOD + f"{section}:\n  {key}: {text}\n")
            self.assertIn(f"f:13: {section}.{key}: want ", problem)
        [problem] = self.problems(GOOD + "window-scale: 15\n")
        self.assertEqual(problem, "f:12: window-scale: want a whole number from 0 to 14, not '15'")
        [problem] = self.problems(changed(("true", "true, heartbeat: 0")))
        self.assertIn("control.heartbeat: want seconds", problem)

    def test_words(self) -> None:
        for line, message in (
            ("device: a/b", "want the name of a device, not 'a/b'"),
            ("device: averyveryverylongname", "want the name of a device"),
            ("run: here", "want an absolute path, not 'here'"),
            (f"run: /{'r' * 97}", "want at most 97 octets"),
            ("policy: round_robin", "unknown policy 'round_robin'; did you mean 'round-robin'?"),
        ):
            [problem] = self.problems(f"{GOOD}{line}\n")
            self.assertIn(f"f:12: {line.partition(':')[0]}: {message}", problem)

    def test_policies(self) -> None:
        goes = "goes with 'policy: consistent' beside it, and no other"
        for keys, message in (
            ("policy: least_loaded", "policy: unknown policy 'least_loaded'; did you mean 'least-"),
            ("policy: [consistent]", "policy: want one of round-robin, least-loaded, consistent"),
            ("policy: consistent, balance-factor: 100", "balance-factor: want a whole number from"),
            ("policy: consistent, balance-factor: 1.25", "balance-factor: want a whole number"),
            ("policy: round-robin, balance-factor: 125", f"balance-factor: {goes}"),
            ("balance-factor: 125", f"balance-factor: {goes}"),
        ):
            lines = keys.replace(", ", "\n")
            [problem] = self.problems(f"{GOOD}{lines}\n")
            self.assertIn(f"f:{12 + lines.count(chr(10))}: {message}", problem)
            wanted = f"partition[0].{message}"
            self.assert_problem(9, wanted, ("nodes: [a, b]", f"nodes: [a, b], {keys}"))

    def test_addresses(self) -> None:
        for text in (
            "192.0.2",
            "host.example",
            "192.0.2.1/24",
            "0.0.0.0",
            "224.0.0.1",
            '"fe80::1"',
            '"fe80::1%eth0"',
            '"::ffff:192.0.2.1"',
            '"::"',
            "1",
        ):
            self.assert_problem(
                3,
                "nodes.a.addresses: want an IPv4 or IPv6 address of one host",
                ("192.0.2.11", text),
            )
        self.assert_problem(
            3, "addresses: 192.0.2.11 is there twice", ("192.0.2.11,", "192.0.2.11, 192.0.2.11,")
        )
        self.assert_problem(
            4, "nodes.b: 2001:db8:2::11 belongs to node 'a'", ("2001:db8:2::12", "2001:db8:2:0::11")
        )

    def test_control_endpoints(self) -> None:
        for text in (
            "192.0.2.11",
            ":7311",
            "192.0.2.11:",
            "192.0.2.11:x",
            "host:7311",
            "2001:db8::1:7311",
            "[192.0.2.11]:7311",
            "[2001:db8::1]",
            "0.0.0.0:7311",
        ):
            self.assert_problem(
                3, "nodes.a.control: want 'address:port' or '[IPv6", ("192.0.2.11:7311", text)
            )
        self.assert_problem(3, "want a port from 1 to 65535, not 0", (":7311", ":0"))
        self.assert_problem(3, "want a port from 1 to 65535, not 65536", (":7311", ":65536"))
        self.assert_problem(
            4, "192.0.2.11:7311 belongs to node 'a'", ("[2001:db8:2::12]:7311", "192.0.2.11:7311")
        )

    def test_weights(self) -> None:
        for text in ("-1", "10001", "1.5", "heavy"):
            weight = ('.11:7311"', f'.11:7311", weight: {text}')
            self.assert_problem(3, "nodes.a.weight: want a whole number from 0 to 10000", weight)

    def test_health(self) -> None:
        for message, health in (
            ("health: 'kind' is missing", "{path: /}"),
            ("health.kind: unknown kind 'htp'; did you mean 'http'?", "{kind: htp}"),
            ("health: unknown key 'intervall'; did you mean", "{kind: tcp, intervall: 1}"),
            ("health.path: a check of kind 'tcp' has none", "{kind: tcp, path: /}"),
            ("health.host: a check of kind 'tcp' has none", "{kind: tcp, host: a.example}"),
            ("health.status: a check of kind 'tls' has none", "{kind: tls, status: 200}"),
            ("health.client: a check of kind 'http' has", "{kind: http, client: 192.0.2.1}"),
            (
                "health.body: a check of kind 'handoff' has none",
                "{kind: handoff, client: 192.0.2.1, body: x}",
            ),
            ("health: 'client' is missing; a handoff has one", "{kind: handoff}"),
            ("health.client: want an IPv4 or IPv6 address", "{kind: handoff, client: x}"),
            ("health.client: 192.0.2.12 is an address", "{kind: handoff, client: 192.0.2.12}"),
            ("health.path: want a path that starts with '/'", "{kind: http, path: a}"),
            ("health.path: want a path that starts with '/'", "{kind: http, path: '/a b'}"),
            ("health.host: want a host name", "{kind: http, host: 'a b'}"),
            ("health.status: want a status or a range", "{kind: http, status: 2xx}"),
            ("health.status: want a status or a range", "{kind: http, status: 399-200}"),
            ("health.status: want a status or a range", "{kind: http, status: [200, 600]}"),
            ("health.body: no regular expression: ", "{kind: http, body: '(x'}"),
            ("health.interval: want seconds", "{kind: tcp, interval: 0}"),
            ("health.fast-interval: want seconds", "{kind: tcp, fast-interval: fast}"),
            ("health.rise: want a whole number from 1", "{kind: tcp, rise: 0}"),
            ("health.jitter: want a whole number from 0 to 50", "{kind: tcp, jitter: 51}"),
        ):
            new = f"origin: 8080, health: {health}"
            self.assert_problem(6, f"listeners.web.{message}", ("origin: 8080", new))
        client = '{kind: handoff, client: "2001:db8::1"}'
        new = f"[192.0.2.100], origin: 8080, health: {client}"
        message = "listeners.vip.health.client: the listener has no IPv6 address"
        self.assert_problem(7, message, ("[192.0.2.100], origin: 8080", new))

    def test_contents(self) -> None:
        for message, more in (
            ("content: unknown content 'htp'; did you mean 'http'?", "content: htp"),
            ("content: want one of http, tls", "content: [tls]"),
            (
                "health.path: a handoff of 'tls' content has none",
                "content: tls, health: {kind: handoff, client: 198.51.100.9, path: /x}",
            ),
            (
                "health.status: a handoff of 'tls' content has none",
                "content: tls, health: {kind: handoff, client: 198.51.100.9, status: 200}",
            ),
        ):
            changes = ("origin: 8080", f"origin: 8080, {more}")
            self.assert_problem(6, f"listeners.web.{message}", changes)

    def test_method_that_is_never_retried(self) -> None:
        changes = ("origin: 8080", "origin: 8080, retry: [POST]")
        self.assert_problem(6, "listeners.web.retry: 'POST' is not one of PUT, DELETE", changes)

    def test_several_problems_of_a_check(self) -> None:
        health = "{kind: none, path: a, rise: 0}"
        problems = self.problems(changed(("origin: 8080", f"origin: 8080, health: {health}")))
        self.assertEqual(len(problems), 3, problems)

    def test_manage(self) -> None:
        """
        Where operators are listened to; only if there are certificates to know them by.
        """
        files = ("{insecure: true}", "{certificate: /c, key: /k, authority: /a}")
        own = ('"192.0.2.11:7311"', '"192.0.2.11:7311", manage: "192.0.2.11:7312"')
        config = loads(changed(files, own), "f")
        self.assertEqual(config.own.manage, ("192.0.2.11", 7312))
        self.assertIsNone(config.nodes["b"].manage)
        self.assert_problem(3, "nodes.a.manage: needs the control channel's certificates", own)
        taken = (own[0], own[1].replace("7312", "7311"))
        self.assert_problem(
            3, "nodes.a: 192.0.2.11:7311 is the control channel of node 'a'", files, taken
        )
        port = (own[0], own[1].replace("7312", "80"))
        self.assert_problem(6, "192.0.2.11:80 is already the shell's port", files, port)

    def test_protection_must_be_said(self) -> None:
        message = "control: say 'certificate', 'key' and 'authority' for TLS"
        for old, new in (("true", "false"), ("insecure: true", "heartbeat: 1")):
            self.assert_problem(11, message, (old, new))
        self.assert_problem(1, message, ("control: {insecure: true}", ""))

    def test_protection_said_twice(self) -> None:
        for files in ("key: /k, ", "certificate: /c, key: /k, authority: /a, "):
            self.assert_problem(
                11,
                "control.insecure: want either 'insecure: true' or 'certificate', 'key' and"
                " 'authority', not both",
                ("insecure: true", f"{files}insecure: true"),
            )

    def test_credentials(self) -> None:
        """
        All three or none; where they are says the file, what is in them is not read yet.
        """
        keys = ("certificate", "key", "authority")
        for missing in keys:
            files = ", ".join(f"{key}: /{key}" for key in keys if key != missing)
            message = f"control: {missing!r} is missing; TLS needs 'certificate', 'key' and"
            self.assert_problem(11, message, ("insecure: true", files))
        text = "{certificate: c.crt, key: /k, authority: [], insecure: no}"
        problems = self.problems(changed(("{insecure: true}", text)))
        self.assertEqual(
            problems,
            [
                "f:11: control.certificate: want an absolute path, not 'c.crt'",
                "f:11: control.authority: want an absolute path, not a list",
            ],
        )

    def test_node(self) -> None:
        self.assert_problem(1, "unknown node 'bb'; did you mean 'b'?", ("node: a", "node: bb"))
        self.assert_problem(1, "which node this host is: 'node:' or --node", ("node: a\n", ""))
        self.assertEqual(self.problems(GOOD, "x"), ["f:2: --node: unknown node 'x'; known: a, b"])

    def test_rules(self) -> None:
        for line, message, old, new in (
            (9, "nodes: unknown node 'c'; known: a, b", "[a, b]", "[a, c]"),
            (9, "nodes: 'a' is there twice", "[a, b]", "[a, a]"),
            (10, "partition[1]: / is already in line 9", "host: IMG.example., ", ""),
            (9, "want a path prefix that starts with '/', not 'a/'", "path: /", "path: a/"),
            (9, "want a path without '?' and '#'", "path: /", "path: '/a?b'"),
            (9, "want the path decoded", "path: /", "path: /a%20b"),
            (9, "no request's path begins so; want '/a/'", "path: /", "path: //a/./"),
            (9, "above the root", "path: /", "path: /../a"),
            (10, "for any host leave 'host' out", "IMG.example.", "'*'"),
            (
                10,
                "clients send this name as 'xn--bcher-kva.example'",
                "IMG.example.",
                "bücher.example",
            ),
            (
                10,
                "clients send this name as '*.xn--bcher-kva.example'",
                "IMG.example.",
                "'*.bücher.example'",
            ),
            (10, "host: want a host name without port", "IMG.example.", "'img.example:80'"),
            (10, "host: want a host name without port", "IMG.example.", "'*.*.example'"),
            (10, "host: want a host name without port", "IMG.example.", "'http://x/'"),
            (10, "host: want a host name without port", "IMG.example.", "~"),
        ):
            self.assert_problem(line, message, (old, new))

    def test_equal_hosts_spelled_differently(self) -> None:
        text = changed(("{path: /, nodes: [a, b]}", "{host: img.EXAMPLE, path: /, nodes: [a]}"))
        [problem] = self.problems(text)
        self.assertEqual(problem, "f:10: partition[1]: img.example/ is already in line 9")

    def test_kinds_of_map(self) -> None:
        rest = changed().partition("partition:")[0] + "control: {insecure: true}\npartition: "
        [problem] = self.problems(rest + "{etcd: x}")
        self.assertEqual(problem, "f:9: partition: unknown key 'etcd'; known: rules")
        [problem] = self.problems(rest + "{}")
        self.assertIn("partition: want a list of rules", problem)

    def test_listeners_that_meet(self) -> None:
        self.assert_problem(
            7, "vip: 192.0.2.11:80 is already listener 'web'", ("192.0.2.100", "192.0.2.11")
        )
        problems = self.problems(changed(("addresses: [192.0.2.100], ", "")))
        self.assertEqual(len(problems), 4)
        self.assertIn("[2001:db8:2::11]:80 is already listener 'web'", problems[1])

    def test_listeners_that_meet_the_control_channel(self) -> None:
        problems = self.problems(changed(("port: 80", "port: 7311")))
        self.assertIn(
            "f:6: listeners.web: 192.0.2.11:7311 is already the control channel of node 'a'",
            problems,
        )
        problems = self.problems(changed(("origin: 8080", "origin: 7311")))
        self.assertIn(
            "f:6: listeners.web: origin 7311 is the control channel of node 'a'", problems
        )

    def test_families(self) -> None:
        self.assert_problem(
            4,
            "nodes.b.addresses: want an IPv6 address too, as listener 'web' has one",
            ('[192.0.2.12, "2001:db8:2::12"]', "[192.0.2.12]"),
        )

    def test_all_at_once_in_order(self) -> None:
        text = changed(
            ("node: a", "node: z"),
            ("192.0.2.12", "192.0.2.300"),
            ("8080", "x"),
            ("[a, b]", "[c]"),
            ("true", "false"),
        )
        problems = self.problems(text + "timeouts: {linger: 0}\n")
        lines = [int(problem.split(":")[1]) for problem in problems]
        self.assertEqual(lines, [1, 4, 6, 9, 11, 12])


class YamlTests(SynchronousTestCase):
    """
    What is no fit YAML.
    """

    def problem(self, text: str) -> str:
        """
        The one problem of C{text}.
        """
        error = self.assertRaises(ConfigErrors, loads, text, "f")
        [problem] = error.problems
        return str(problem)

    def test_syntax(self) -> None:
        self.assertRegex(self.problem("node: a\nnodes: [1\nlisteners: 2\n"), "^f:3: not YAML: ")
        self.assertRegex(self.problem("node: a\n\tnodes:\n"), "^f:2: not YAML: ")
        self.assertRegex(self.problem("a: {" * 5), "^f:[12]: not YAML: ")

    def test_empty(self) -> None:
        for text in ("", "# nothing\n", "---"):
            error = self.assertRaises(ConfigErrors, loads, text, "f")
            self.assertTrue(error.problems)

    def test_unprintable(self) -> None:
        self.assertEqual(
            self.problem("a: 1\nb: \x01\n"), "f:2: character U+0001 is not allowed in YAML"
        )

    def test_aliases_tags_documents(self) -> None:
        self.assertRegex(self.problem("a: &x 1\nb: *x\n"), "^f:1: anchors and aliases")
        self.assertRegex(self.problem("a: 1\nb: *x\n"), "^f:2: anchors and aliases")
        self.assertRegex(self.problem("a: !!python/name:os.system x\n"), "^f:1: tags")
        self.assertRegex(self.problem("a: 1\n---\nb: 1\n"), "^f:2: a second document")
        self.assertRegex(self.problem("[a]: 1\n"), "^f:1: want a plain word as key")

    def test_depth(self) -> None:
        for text in ("[" * 100_000, "a: {" * 100_000, "- " * 100_000):
            self.assertEqual(self.problem(text), "f:1: nested more than 8 deep")
            self.assertEqual(self.problem(f"a: 1\nb:\n  {text}"), "f:3: nested more than 8 deep")

    def test_size(self) -> None:
        self.assertEqual(self.problem("#" * ((1 << 20) + 1)), "f: larger than 1048576 octets")

    def test_a_list(self) -> None:
        error = self.assertRaises(ConfigErrors, loads, "- a\n", "f")
        self.assertIn("f:1: the file: want 'key: value' lines, not a list", str(error))


class FileTests(SynchronousTestCase):
    """
    Tests for L{load}.
    """

    def write(self, content: bytes) -> str:
        """
        The name of a new file.
        """
        name: str = self.mktemp()
        os.makedirs(os.path.dirname(name), exist_ok=True)
        Path(name).write_bytes(content)
        return name

    def test_missing(self) -> None:
        error = self.assertRaises(ConfigErrors, load, "/nonexistent.yaml")
        self.assertEqual(
            str(error), "/nonexistent.yaml: can not be read: No such file or directory"
        )

    def test_directory(self) -> None:
        error = self.assertRaises(ConfigErrors, load, "/")
        self.assertIn("can not be read", str(error))

    def test_not_text(self) -> None:
        name = self.write(b"node: a\nb: \xff\n")
        [problem] = self.assertRaises(ConfigErrors, load, name).problems
        self.assertEqual((problem.line, problem.column), (2, 4))
        self.assertEqual(str(problem), f"{name}:2: not UTF-8 text")

    def test_size(self) -> None:
        error = self.assertRaises(ConfigErrors, load, self.write(b"#" * ((1 << 20) + 1)))
        self.assertIn("larger than", str(error))

    def test_byte_order_mark(self) -> None:
        name = self.write(b"\xef\xbb\xbf" + GOOD.encode())
        self.assertEqual(load(Path(name)), loads(GOOD, ""))

    def test_names_the_file(self) -> None:
        name = self.write(GOOD.replace("path: /", "path: x").encode())
        self.assertIn(f"{name}:9: ", str(self.assertRaises(ConfigErrors, load, name)))


class ExampleTests(SynchronousTestCase):
    """
    Every file in C{conf/} is a good example.
    """

    def test_load(self) -> None:
        files = sorted((ROOT / "conf").glob("*.yaml"))
        self.assertIn("minimal.yaml", [file.name for file in files])
        for file in files:
            config = load(file, "a")
            self.assertIsInstance(config, Config)
            for name in config.nodes:
                self.assertEqual(load(file, name).own.name, name)

    def test_cluster_shows_the_defaults(self) -> None:
        config = load(ROOT / "conf" / "cluster.yaml")
        for attribute in fields(Config):
            if attribute.name not in ("node", "nodes", "listeners", "partition", "control"):
                self.assertEqual(getattr(config, attribute.name), attribute.default)


class ReferenceTests(SynchronousTestCase):
    """
    C{docs/configuration.md} knows every key, and no other.
    """

    def setUp(self) -> None:
        self.reference = (ROOT / "docs" / "configuration.md").read_text()

    def test_keys(self) -> None:
        documented = re.findall(r"^\| `([^`]+)` \|", self.reference, re.MULTILINE)
        known = [
            f"{section}.{key}" if section else key for section, keys in KEYS.items() for key in keys
        ]
        self.assertEqual(sorted(documented), sorted(known))

    def test_defaults(self) -> None:
        rows = re.findall(r"^\| `([^`]+)` \|[^|]*\| ([0-9.]+) \|", self.reference, re.MULTILINE)
        documented = {key: float(default) for key, default in rows}
        for section, name in (
            (Timeouts, "timeouts"),
            (Limits, "limits"),
            (Check, "listeners.NAME.health"),
        ):
            for attribute in fields(section):
                key = f"{name}.{attribute.name.replace('_', '-')}"
                if isinstance(attribute.default, int | float):
                    self.assertEqual(documented[key], attribute.default, key)

    def test_example(self) -> None:
        [text, errors] = re.findall(
            r"```(?:yaml|text)\n(.*?)```", self.reference.partition("## Errors")[2], re.DOTALL
        )
        error = self.assertRaises(ConfigErrors, loads, text, "node.yaml")
        self.assertEqual(str(error), errors.strip())
