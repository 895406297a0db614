# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.admin.grammar}, L{btcp.admin.argument_types} and L{btcp.admin.syntax}.
"""

from __future__ import annotations

from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from btcp.admin.argument_types import Client
from btcp.admin.grammar import LONGEST_LINE, Form, SyntaxProblem, pointed, quoted, split
from btcp.admin.levels import Level
from btcp.admin.syntax import FORMS, VERBS, candidates, explained, read
from btcp.handoff.messages import Endpoint

V4 = ip_address("198.51.100.7").packed
V6 = ip_address("2001:db8::7").packed

UNDERSTOOD: dict[str, dict[str, object]] = {
    "show nodes": {},
    "  show   flows ": {},
    "show flows limit 5 client 198.51.100.7": {"limit": 5, "client": Client(V4, None)},
    "show flows client [2001:db8::7]:80": {"client": Client(V6, 80)},
    "show flows client 2001:db8::7 state forwarding": {
        "client": Client(V6, None),
        "state": "FORWARDING",
    },
    "show flows role back node b listener web": {"role": "back", "node": "b", "listener": "web"},
    "set node b drain": {"node": "b", "admin": "drain"},
    "set weight b 50%": {"node": "b", "percent": 50},
    "set weight b 0": {"node": "b", "percent": 0},
    "shutdown flow 198.51.100.7:1024": {"client": Endpoint(V4, 1024)},
    "wait drained b": {"node": "b"},
    "wait drained b 1.5m": {"node": "b", "seconds": 90.0},
    "wait drained b 500ms": {"node": "b", "seconds": 0.5},
    "trace start /tmp/x.pcapng": {"file": "/tmp/x.pcapng"},
    "trace start '/tmp/a b' max 10M": {"file": "/tmp/a b", "max": 10 << 20},
    "reload": {},
    "help": {},
    "help set": {"verb": "set"},
    "quit": {},
}

# the line, and below it where it is wrong and what is said of that
MISUNDERSTOOD = (
    ("", "^ want show, set, shutdown, wait, clear, trace, reload, quit, help"),
    ("sow", "^^^ want show, set, shutdown, wait, clear, trace, reload, quit, help"
            "; did you mean show?"),
    ("show", "    ^ want nodes, flows, map, stats, errors, peers, config, info, trace"),
    ("show nods", "     ^^^^ want nodes, flows, map, stats, errors, peers, config, info, trace"
                  "; did you mean nodes?"),
    ("show nodes all", "           ^^^ want nothing more here"),
    ("set node", "        ^ want NODE here"),
    ("set node b", "          ^ want ready|drain|maint here"),
    ("set node b drian", "           ^^^^^ want ready, drain, maint; did you mean drain?"),
    ("set node B drain", "         ^ want a name of 1 to 32 of a-z, 0-9 and '-'"),
    ("set weight b 101%", "             ^^^^ want 0% to 100%"),
    ("set weight b half", "             ^^^^ want 0% to 100%"),
    ("show flows limit 0", "                 ^ want a whole number, 1 or more"),
    ("show flows limit", "                ^ want COUNT after limit"),
    ("show flows limit 1 limit 2", "                   ^^^^^ limit is repeated"),
    ("show flows nodes b", "           ^^^^^ want client, listener, node, state, role, limit"
                           "; did you mean node?"),
    ("show flows state open", "                 ^^^^ want LISTEN, SYN-RECEIVED, ESTABLISHED,"
     " HANDING-OFF, FORWARDING, ANSWERED, CLOSED, ADMITTING, REPLAYING, REQUEST-DELIVERED,"
     " SPLICED, CLOSING"),
    ("show flows client b", "                  ^ want a client's address, or an endpoint such as"
                            " 192.0.2.1:1024"),
    ("shutdown flow 198.51.100.7", "              ^^^^^^^^^^^^ want a client's endpoint, such as"
                                   " 192.0.2.1:1024 or [2001:db8::1]:1024"),
    ("shutdown flow 198.51.100.7:70000", "              ^^^^^^^^^^^^^^^^^^ want a client's"
                                         " endpoint, such as 192.0.2.1:1024 or [2001:db8::1]:1024"),
    ("wait drained b 30", "               ^^ want a time such as 500ms, 30s, 5m or 1h, one day"
                          " at most"),
    ("wait drained b 25h", "               ^^^ want a time such as 500ms, 30s, 5m or 1h, one day"
                           " at most"),
    ("trace start x.pcapng", "            ^^^^^^^^ want the absolute path of a file, which the"
                             " node writes"),
    ("trace start /x max 1T", "                   ^^ want a size in octets such as 500000, 64k,"
                              " 10M or 1G"),
    ("trace start \"/tmp/a", "            ^^^^^^^ the quote is not closed"),
    ("show \tnodes\x1b", "     ^ want printable characters only"),
    ("help everything", "     ^^^^^^^^^^ want show, set, shutdown, wait, clear, trace, reload,"
                        " quit, help"),
)  # fmt: skip


def _without_example() -> set[Form]:
    """
    Forms that are nothing but their words.
    """
    return {form for form in FORMS if form.usage == form.name}


def _words() -> list[str]:
    words = {word for line in UNDERSTOOD for word in line.split()}
    return sorted(words | {word for line, _ in MISUNDERSTOOD for word in line.split()})


class ReadTests(SynchronousTestCase):
    """
    Tests for L{read}.
    """

    def test_understood(self) -> None:
        for line, values in UNDERSTOOD.items():
            order = read(line)
            self.assertEqual(order.values, values, line)
            self.assertTrue(" ".join(line.split()).startswith(order.form.name))

    def test_every_form(self) -> None:
        """
        None is left out above.
        """
        self.assertEqual({read(line).form for line in UNDERSTOOD} | _without_example(), set(FORMS))

    def test_misunderstood(self) -> None:
        for line, below in MISUNDERSTOOD:
            error = self.assertRaises(SyntaxProblem, read, line)
            shown = pointed(line, error.column, error.length, str(error))
            self.assertEqual(shown, f"{line}\n{below}")

    def test_too_long(self) -> None:
        self.assertRaises(SyntaxProblem, read, "show " + "x" * LONGEST_LINE)

    @given(st.text(max_size=40) | st.lists(st.sampled_from(_words())).map(" ".join))
    def test_any_line(self, line: str) -> None:
        """
        An order, or a place in the line.
        """
        try:
            order = read(line)
        except SyntaxProblem as error:
            self.assertLessEqual(0, error.column)
            self.assertLessEqual(error.column + error.length, max(len(line), 1))
        else:
            self.assertIn(order.form, FORMS)


class QuotedTests(SynchronousTestCase):
    @given(st.lists(st.text(st.characters(exclude_characters="\"'", categories=["L", "P", "Zs"]))))
    def test_round(self, words: list[str]) -> None:
        line = quoted(words)
        if len(line) <= LONGEST_LINE and line.isprintable():
            self.assertEqual([word.text for word in split(line)], words)

    def test_impossible(self) -> None:
        self.assertRaises(ValueError, quoted, ["a 'b\""])


class HelpTests(SynchronousTestCase):
    def test_usage(self) -> None:
        usages = {form.name: form.usage for form in FORMS}
        self.assertEqual(usages["wait drained"], "wait drained NODE [TIME]")
        self.assertEqual(
            usages["trace start"],
            "trace start FILE [client ADDRESS[:PORT]] [listener LISTENER] [max SIZE]",
        )

    def test_of_a_verb(self) -> None:
        orders = explained("set")["commands"]
        assert isinstance(orders, list)
        self.assertEqual([order["level"] for order in orders], ["operator", "operator"])
        every = explained()["commands"]
        assert isinstance(every, list)
        self.assertEqual(len(every), len(FORMS))

    def test_levels(self) -> None:
        """
        Whoever only looks changes nothing.
        """
        looks = {form.words[0] for form in FORMS if form.level is Level.USER}
        self.assertEqual(looks, {"show", "help", "quit"})


class CandidatesTests(SynchronousTestCase):
    NAMES = {"NODE": ["a", "b"], "LISTENER": ["web"]}  # noqa: RUF012

    def offered(self, line: str) -> list[str]:
        return candidates(line, self.NAMES)

    def test_each_place(self) -> None:
        for line, offered in (
            ("", sorted(VERBS)),
            ("s", ["set", "show", "shutdown"]),
            ("show ", ["config", "errors", "flows", "info", "map", "nodes", "peers", "stats",
                       "trace"]),
            ("set ", ["node", "weight"]),
            ("set node ", ["a", "b"]),
            ("set node b d", ["drain"]),
            ("set node b drain ", []),
            ("show flows ", ["client", "limit", "listener", "node", "role", "state"]),
            ("show flows listener ", ["web"]),
            ("show flows listener web r", ["role"]),
            ("show flows listener web l", ["limit"]),
            ("show flows role ", ["back", "front"]),
            ("show flows client ", []),
            ("wait drained ", ["a", "b"]),
            ("help t", ["trace"]),
            ("nonsense ", []),
        ):  # fmt: skip
            self.assertEqual(self.offered(line), offered, line)
