# SPDX-License-Identifier: MIT
"""
C{btcp/datapath/bpf/abi.h} and L{btcp.datapath.ebpf.abi} describe the same layouts, as the
C compiler sees them.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from ipaddress import ip_address
from math import inf
from pathlib import Path
from struct import Struct
from tempfile import TemporaryDirectory
from typing import ClassVar
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from btcp.datapath.ebpf import abi
from btcp.datapath.ebpf.programs import OBJECT
from btcp.datapath.interface import Promise
from btcp.datapath.raw import frame
from btcp.datapath.raw.guard import MARK
from btcp.handoff.memo import LAYOUT
from btcp.handoff.messages import Capabilities, Endpoint, Handoff
from btcp.handoff.reassembly import WINDOW
from btcp.handoff.route import REACH, Report, Reported, Route
from btcp.handoff.splice import Rewriter, Splice
from btcp.wire.segment import flow_key

HEADERS = OBJECT.parent

_RULE = (
    "to seq ack tsval tsecr shift punt local rewrites awaits admitting follows lease express "
    "iss first"
)

STRUCTURES = {
    "end": (abi.END, "address port zero"),
    "key": (abi.KEY, "source destination source_port destination_port"),
    "rule": (abi.RULE, _RULE),
    "account": (
        abi.ACCOUNT,
        "used packets octets ack end fin progress closing fin_seen fin_acked",
    ),
    "route": (abi.ROUTE, "rule account"),
    "adoption": (
        abi.ADOPTION,
        "tsval tsecr mss own_scale client_scale scaling sack timestamps taken",
    ),
    "amendment": (abi.AMENDMENT, "key punt"),
    "promise": (
        abi.PROMISE,
        "until secret mss_v4 mss_v6 window scale scaling sack timestamps zero",
    ),
    "event": (abi.EVENT, "key report client_fin server_fin octets"),
    "ending": (abi.ENDING, "own client front why"),
    "done": (abi.DONE, "key iss first"),
    "reaping": (abi.REAPING, "count both node"),
    "prefix": (abi.PREFIX, "bits scope path"),
    "turns": (abi.TURNS, "count cursor node"),
    "destination": (abi.DESTINATION, "key v4 v6 reach own zero"),
    "front": (abi.EXPRESS_FRONT, "key lease zero"),
    "plan": (abi.PLAN, "own scope hosts adopts decides head records"),
    "measured": (abi.MEASURED, "iss first rtt"),
    "handed": (abi.HANDED, "client set node kind at"),
    "record": (abi.RECORD, "magic kind node port address front tag scale holds rtt zero balance"),
    "memo": (abi.MEMO, "octets"),
    "identity": (abi.IDENTITY, "epoch abi starts secret"),
    "settings": (abi.SETTINGS, "tap"),
}

PROGRAM = """
#include <stddef.h>
#include <stdio.h>
#include "abi.h"
int main(void)
{
%s
	printf("counters 0 %%d\\n", BTCP_COUNTERS);
	printf("mark 0 %%u\\n", BTCP_MARK);
	printf("abi 0 %%d\\n", BTCP_ABI);
	printf("reach 0 %%u\\n", BTCP_REACH);
	return 0;
}
"""
WHOLE = '\tprintf("{0} 0 %zu\\n", sizeof(struct btcp_{0}));'
PART = (
    '\tprintf("{0}.{1} %zu %zu\\n", offsetof(struct btcp_{0}, {1}), '
    "sizeof(((struct btcp_{0} *)0)->{1}));"
)
REPORT = '\tprintf("report.{0} 0 %d\\n", BTCP_{0});'
SAYS = '\tprintf("says.{0} 0 %d\\n", BTCP_{0});'
NUMBER = '\tprintf("counter.{0} 0 %d\\n", BTCP_{0});'

CLIENT, FRONT, BACK = (ip_address(f"192.0.2.{n}").packed for n in (7, 8, 9))
CLIENT_6, FRONT_6, BACK_6 = (ip_address(f"2001:db8::{n}").packed for n in (7, 8, 9))
MAPPED = ip_address("::ffff:0.0.0.0").packed[:12]


def _source() -> str:
    lines = []
    for name, (_, fields) in STRUCTURES.items():
        lines.append(WHOLE.format(name))
        lines += [PART.format(name, field) for field in fields.split()]
    lines += [REPORT.format(report.name) for report in Report]
    lines += [SAYS.format(name) for name in ("FIRST", "LATER")]
    lines += [NUMBER.format(name.upper()) for name in abi.COUNTERS]
    return PROGRAM % "\n".join(lines)


def _compiled() -> dict[str, tuple[int, int]]:
    """
    @return: offset and size of each structure and field; as sizes, numbers.
    """
    with TemporaryDirectory() as directory:
        program = Path(directory) / "layout"
        subprocess.run(
            ["cc", "-Wall", "-Werror", "-x", "c", "-", "-I", str(HEADERS), "-o", str(program)],
            input=_source().encode(),
            check=True,
        )
        said = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    words = (line.split() for line in said.splitlines())
    return {name: (int(offset), int(size)) for name, offset, size in words}


def _fields(layout: Struct) -> list[tuple[int, int]]:
    """
    @return: offset and size of each field, padding as a field of its own.
    """
    found, at, count = [], 0, ""
    for code in layout.format.removeprefix("="):
        if code.isdigit():
            count += code
            continue
        size = Struct(f"={count}{code}").size
        found.append((at, size))
        at, count = at + size, ""
    return found


class AbiTestCase(SynchronousTestCase):
    compiled: ClassVar[dict[str, tuple[int, int]]] = {}

    def setUp(self) -> None:
        if shutil.which("cc") is None:
            raise SkipTest("no C compiler: install gcc")
        if not self.compiled:
            self.compiled.update(_compiled())

    def value(self, packed: bytes, *path: str) -> bytes:
        """
        @param path: structure and field, each field's structure before it.
        """
        for name in path:
            at, size = self.compiled[name]
            packed = packed[at : at + size]
        return packed

    def number(self, packed: bytes, *path: str, signed: bool = False) -> int:
        return int.from_bytes(self.value(packed, *path), sys.byteorder, signed=signed)


class LayoutTests(AbiTestCase):
    def test_sizes(self) -> None:
        for name, (layout, _) in STRUCTURES.items():
            self.assertEqual(layout.size, self.compiled[name][1], name)

    def test_fields(self) -> None:
        """
        Each field where Python has it; between them nothing, as keys are compared octet by
        octet.
        """
        for name, (layout, fields) in STRUCTURES.items():
            compiled = [self.compiled[f"{name}.{field}"] for field in fields.split()]
            self.assertEqual(_fields(layout), compiled, name)
            self.assertEqual(sum(size for _, size in compiled), layout.size, name)

    def test_counters(self) -> None:
        self.assertEqual(self.compiled["counters"][1], len(abi.COUNTERS))
        for number, name in enumerate(abi.COUNTERS):
            self.assertEqual(self.compiled[f"counter.{name.upper()}"][1], number)

    def test_mark(self) -> None:
        self.assertEqual(self.compiled["mark"][1], MARK)

    def test_reach_is_the_same_in_both_datapaths(self) -> None:
        self.assertEqual(self.compiled["reach"][1], REACH)

    def test_version(self) -> None:
        self.assertEqual(self.compiled["abi"][1], abi.VERSION)

    def test_memo(self) -> None:
        """
        Every memo of the core has its place.
        """
        self.assertEqual(LAYOUT.size, abi.MEMO.size)


class PackingTests(AbiTestCase):
    def test_ipv4_key(self) -> None:
        packed = abi.pack_key(flow_key(CLIENT, 0x1234, FRONT, 80))
        self.assertEqual(self.value(packed, "key.source"), MAPPED + CLIENT)
        self.assertEqual(self.value(packed, "key.destination"), MAPPED + FRONT)
        self.assertEqual(self.value(packed, "key.source_port"), b"\x12\x34")
        self.assertEqual(self.value(packed, "key.destination_port"), b"\x00\x50")

    def test_ipv6_key(self) -> None:
        packed = abi.pack_key(flow_key(CLIENT_6, 0x1234, FRONT_6, 80))
        self.assertEqual(self.value(packed, "key.source"), CLIENT_6)
        self.assertEqual(self.value(packed, "key.destination"), FRONT_6)
        self.assertEqual(self.value(packed, "key.source_port"), b"\x12\x34")
        self.assertEqual(self.value(packed, "key.destination_port"), b"\x00\x50")

    def test_end(self) -> None:
        for address, sixteen in ((FRONT, MAPPED + FRONT), (FRONT_6, FRONT_6)):
            packed = abi.pack_end(address, 0x1F90)
            self.assertEqual(self.value(packed, "end.address"), sixteen)
            self.assertEqual(self.value(packed, "end.port"), b"\x1f\x90")
            self.assertEqual(self.number(packed, "end.zero"), 0)

    def _route(self, rewriter: Rewriter | None) -> bytes:
        key = flow_key(CLIENT, 1000, FRONT, 80)
        route = Route(key, rewriter, local=True, punt=0x07, ack=5, end=6, now=2.5)
        route.progress = True
        return abi.pack_route(route)

    def test_rule(self) -> None:
        old, new = flow_key(CLIENT, 1000, FRONT, 80), flow_key(CLIENT, 1000, BACK, 8080)
        splice = Splice(old=old, new=new, seq=-1, ack=2**32 - 2, tsval=3, tsecr=-4, shift=-7)
        packed = self._route(Rewriter(splice))
        rule = "route.rule"
        self.assertEqual(self.value(packed, rule, "rule.to"), abi.pack_key(new))
        for field, delta in (("seq", -1), ("ack", -2), ("tsval", 3), ("tsecr", -4)):
            found = self.number(packed, rule, f"rule.{field}", signed=True)
            self.assertEqual(found, delta, field)
        self.assertEqual(self.number(packed, rule, "rule.shift", signed=True), -7)
        self.assertEqual(self.number(packed, rule, "rule.punt"), 0x07)
        self.assertEqual(self.number(packed, rule, "rule.local"), 1)
        self.assertEqual(self.number(packed, rule, "rule.rewrites"), 1)

    def test_no_rule(self) -> None:
        """
        Then the key is the packet's own: the programs compare the client's end.
        """
        packed = self._route(None)
        key = abi.pack_key(flow_key(CLIENT, 1000, FRONT, 80))
        self.assertEqual(self.value(packed, "route.rule", "rule.to"), key)
        self.assertEqual(self.number(packed, "route.rule", "rule.rewrites"), 0)
        self.assertEqual(self.number(packed, "route.rule", "rule.punt"), 0x07)
        self.assertEqual(self.number(packed, "route.rule", "rule.local"), 1)

    def test_account(self) -> None:
        packed = self._route(None)
        found = {
            field: self.number(packed, "route.account", f"account.{field}")
            for field in STRUCTURES["account"][1].split()
        }
        expected = {"packets": 0, "octets": 0, "ack": 5, "end": 6, "progress": 1}
        ends = {"fin": 0, "closing": 0, "fin_seen": 0, "fin_acked": 0}
        self.assertEqual(found, expected | ends | {"used": 2_500_000_000})
        account = abi.Account(2.5, 0, 0, 5, 6, True, None, False)
        self.assertEqual(abi.Account.unpack(packed), account)

    def test_account_of_a_closing_flow(self) -> None:
        route = Route(flow_key(CLIENT, 1000, FRONT, 80), None, local=True, punt=0, now=2.5)
        route.fin, route.fin_acked = 0, True
        account = abi.Account.unpack(abi.pack_route(route))
        self.assertEqual((account.fin, account.fin_acked), (0, True))

    def test_followed_route(self) -> None:
        key = flow_key(CLIENT, 1000, FRONT, 80)
        route = Route(
            key, None, local=True, punt=0, now=2.5, follows=True, awaits=0x1234, lease="b"
        )
        packed = abi.pack_route(route, 9)
        found = {
            field: self.number(packed, "route.rule", f"rule.{field}")
            for field in ("awaits", "admitting", "follows", "lease")
        }
        self.assertEqual(found, {"awaits": 0x1234, "admitting": 1, "follows": 1, "lease": 9})
        route.awaits = None
        packed = abi.pack_route(route, 9)
        self.assertEqual(self.number(packed, "route.rule", "rule.admitting"), 0)

    def test_promise(self) -> None:
        can = Capabilities(mtu=1400, sack=True, timestamps=False, window_scaling=True)
        packed = abi.pack_promise(Promise(can, 7, 2.5), bytes(range(16)))
        self.assertEqual(self.value(packed, "promise.secret"), bytes(range(16)))
        found = {
            field: self.number(packed, f"promise.{field}")
            for field in "until mss_v4 mss_v6 window scale scaling sack timestamps".split()
        }
        expected = {
            "until": 2_500_000_000,
            "mss_v4": 1360,
            "mss_v6": 1340,
            "window": WINDOW,
            "scale": 7,
            "scaling": 1,
            "sack": 1,
            "timestamps": 0,
        }
        self.assertEqual(found, expected)

    def test_lease(self) -> None:
        self.assertEqual(int.from_bytes(abi.pack_lease(2.5), sys.byteorder), 2_500_000_000)
        self.assertEqual(int.from_bytes(abi.pack_lease(-inf), sys.byteorder), 0)

    def test_event(self) -> None:
        for key in (flow_key(CLIENT, 1, FRONT, 80), flow_key(CLIENT_6, 1, FRONT_6, 80)):
            event = abi.EVENT.pack(abi.pack_key(key), 2, 3, 4, 5)
            reported = Reported(key, Report.CLOSED, client_fin=3, server_fin=4, octets=5)
            self.assertEqual(abi.unpack_event(event), reported)

    def test_reports(self) -> None:
        for report in Report:
            self.assertEqual(self.compiled[f"report.{report.name}"][1], report)

    def test_what_the_program_says(self) -> None:
        for number, name in ((1, "FIRST"), (2, "LATER")):
            self.assertEqual(self.compiled[f"says.{name}"][1], number)
        self.assertEqual(frame.BEGINNING[5:], b"\1")
        self.assertEqual(frame.CONTINUING[5:], b"\2")

    def test_unpacking(self) -> None:
        """
        What was packed, account included, of both versions of IP.
        """
        for client, front, back in ((CLIENT, FRONT, BACK), (CLIENT_6, FRONT_6, BACK_6)):
            old, new = flow_key(client, 1000, front, 80), flow_key(client, 1000, back, 8080)
            splice = Splice(old=old, new=new, seq=1, ack=2**32 - 2, tsval=3, tsecr=4, shift=-7)
            for rewriter in (None, Rewriter(splice)):
                made = Route(
                    old,
                    rewriter,
                    local=True,
                    punt=7,
                    ack=5,
                    end=6,
                    now=2.5,
                    awaits=77,
                    follows=True,
                )
                packed = abi.pack_route(made, 3)
                account = abi.ACCOUNT.pack(3_500_000_000, 8, 9, 10, 11, 12, 1, 1, 1, 1)
                packed = abi.ROUTE.pack(abi.ROUTE.unpack(packed)[0], account)
                read = abi.unpack_route(abi.pack_key(old), packed)
                self.assertEqual((read.key, read.local, read.punt), (old, True, 7))
                self.assertEqual((read.packets, read.octets, read.ack, read.end), (8, 9, 10, 11))
                self.assertEqual((read.used, read.progress), (3.5, True))
                self.assertEqual((read.follows, read.awaits), (True, 77))
                self.assertEqual((read.fin, read.fin_acked), (12, True))
                found = read.rewriter and read.rewriter.splice
                self.assertEqual(found, rewriter and splice)

    def test_adoption(self) -> None:
        order = Handoff(
            id=1,
            listener="web",
            client=Endpoint(CLIENT, 1000),
            front=Endpoint(FRONT, 80),
            irs=1,
            iss=2,
            window=3,
            mss=1460,
            client_scale=9,
            front_scale=7,
            sack=True,
            tsval=0x01020304,
            front_tsval=0x05060708,
            acked=0,
            request=b"",
        )
        packed = abi.pack_adoption(order)
        found = {
            field: self.number(packed, f"adoption.{field}")
            for field in STRUCTURES["adoption"][1].split()
        }
        expected = {"tsval": 0x01020304, "tsecr": 0x05060708, "mss": 1460, "own_scale": 7}
        expected |= {"client_scale": 9, "scaling": 1, "sack": 1, "timestamps": 1, "taken": 0}
        self.assertEqual(found, expected)
