# SPDX-License-Identifier: MIT
"""
A front-end and its back-end in one set of tables, to try the express programs with.
"""

from __future__ import annotations

import time
from functools import cache
from unittest import SkipTest

from attrs import frozen
from scapy.layers.inet import TCP
from scapy.layers.l2 import Ether

from btcp.datapath.ebpf import abi
from btcp.datapath.ebpf.express import Destination, ExpressTables, Plan, probe
from btcp.datapath.ebpf.libbpf import Map
from btcp.datapath.interface import AWAKE, DatapathError
from btcp.handoff.memo import digest
from btcp.wire.build import compose
from btcp.wire.options import SynOptions
from btcp.wire.segment import ACK, PSH, SYN, Segment
from btcp.wire.seqnum import add
from tests.integration.handshake_case import (
    CLIENTS_ADDRESS,
    IRS,
    LAYOUTS,
    HandshakeTestCase,
    stamps,
)
from tests.integration.loaded import REDIRECT, Loaded, Outcome, parsed, without_rtt
from tests.integration.program_case import BOTH, LISTENERS, Flow

KEY, OTHER_KEY = bytes(range(16)), bytes(range(16, 32))
OWN = digest("front")
NODE, OTHER, HERE = 2, 3, 4
"""Numbers of destinations: of the flow's back-end, of another, and of the front-end itself."""
SIZE = abi.RECORD.size
SAYS_FIRST = b"\x02btcp\x01"
REQUEST = b"GET /a/b?c HTTP/1.1\r\nHost: h.example\r\n\r\n"
NODES = {"/a": NODE, "/o": OTHER, "/h": HERE}


@frozen
class Both:
    """
    The programs, and the tables they decide by.

    @ivar declined: connections that are the daemon's.
    """

    loaded: Loaded
    tables: ExpressTables
    declined: Map

    def steps(self, name: str) -> int:
        """
        @return: how many instructions the verifier had to look at.
        """
        return self.tables._object.steps(name)


@cache
def express() -> Both:
    loaded = Loaded(LISTENERS, origin_ports=dict.fromkeys(LISTENERS, 8080))
    tables = ExpressTables()
    tables.set_up(loaded.programs)
    return Both(loaded, tables, tables._object.map("declined", abi.WORD.size))


@cache
def lacking() -> str:
    try:
        probe()
    except DatapathError as problem:
        return str(problem)
    return ""


def stamped(options: bool, echo: int = 88) -> bytes:
    return b"\1\1" + stamps(77, echo % 2**32) if options else b""


@frozen
class Client:
    """
    A client whose SYN was answered.

    @ivar irs: its initial sequence number.
    @ivar iss: the front-end's.
    @ivar tsval: that of the SYN/ACK.
    @ivar echo: TSecr of what it says.
    """

    flow: Flow
    irs: int
    iss: int
    timestamps: bool = False
    tsval: int = 0
    echo: int = 88

    def says(
        self, data: bytes, at: int = 0, heard: int = 0, flags: int = ACK | PSH, key: bytes = b""
    ) -> bytes:
        """
        @param at: octets that it said before.
        @param heard: octets that it heard.
        @return: a frame.
        """
        options = stamped(self.timestamps, self.echo)
        seq, ack = add(self.irs, 1 + at), add(self.iss, 1 + heard)
        made = compose(key or self.flow.request, seq, ack, flags, 500, options, data)
        return framed(made)


def framed(segment: Segment) -> bytes:
    kind = b"\x08\x00" if segment.version == 4 else b"\x86\xdd"
    octets = bytes(segment.buffer[segment.ip : segment.end])
    return bytes(6) + CLIENTS_ADDRESS + kind + octets


def up(octets: bytes) -> bytes:
    """
    @return: a frame as the daemon sees it.
    """
    return octets[:6] + SAYS_FIRST + octets[12:]


class ExpressCase(HandshakeTestCase):
    """
    Paths under C{/a} are C{NODE}'s, under C{/o} C{OTHER}'s, under C{/h} the front-end's own.
    """

    def setUp(self) -> None:
        super().setUp()
        if lacking():
            raise SkipTest(lacking())
        self.irs = IRS
        self.tables = express().tables
        self.loaded = express().loaded
        self.promise()
        self.addCleanup(self.loaded.programs.promise, None)
        self.forget()
        self.plan()
        for path, node in NODES.items():
            self.tables.turns(node, [node])
            self.tables.add_prefixes({(1, path.encode()): node})
        for node in NODES.values():
            self.destination(node)
        self.tables.front(OWN, KEY, self.tables.lease("front"))

    def forget(self) -> None:
        """
        All connections.
        """
        for table in (self.loaded.programs.routes, express().declined):
            table.delete_many([key for key, _ in table.items(abi.KEY.size)])

    def plan(
        self,
        decides: bool = True,
        adopts: bool = True,
        own: bytes = OWN,
        scope: int = 1,
        hosts: bool = False,
        head: int = 16384,
        records: bool = False,
    ) -> None:
        self.tables.plan(Plan(own, scope, hosts, adopts, decides, head, records))

    def destination(self, node: int) -> None:
        key = OTHER_KEY if node == OTHER else KEY
        v4, v6 = (flow.back for flow in BOTH)
        if node == OTHER:
            v4, v6 = v4[:-1] + b"\x77", v6[:-1] + b"\x77"
        self.tables.destination(node, Destination(key, v4, v6, node == HERE))

    def renew(self, seconds: float) -> None:
        """
        Both leases that a back-end needs.
        """
        for name in ("front", AWAKE):
            self.loaded.programs.renew(name, time.monotonic() + seconds)

    def known(self, flow: Flow, timestamps: bool = False) -> Client:
        """
        A client whose SYN the kernel answers.
        """
        layout = "Linux" if timestamps else "Linux without timestamps"
        self.irs = add(self.irs, 100_000)
        octets = framed(compose(flow.request, self.irs, 0, SYN, 64_240, LAYOUTS[layout]))
        answer = parsed(self.loaded.ingress(octets).frame)
        tsval = SynOptions.read(answer).tsval
        return Client(flow, parsed(octets).seq, answer.seq, timestamps, tsval)

    def handed(self, client: Client, data: bytes = REQUEST) -> Outcome:
        """
        What becomes of its request, which goes to C{NODE}.
        """
        outcome = self.loaded.ingress(client.says(data))
        counted = {"expressed": 1, "forwarded": 1}
        self.assertEqual((outcome.verdict, outcome.counted), (REDIRECT, counted))
        return outcome

    def assert_declined(self, octets: bytes) -> None:
        """
        The daemon sees it as it came.
        """
        outcome = self.loaded.ingress(octets)
        counted = {"declined": 1, "punted": 1}
        self.assertEqual((outcome.verdict, outcome.counted), (REDIRECT, counted))
        self.assertEqual(without_rtt(outcome.frame), up(octets))

    def assert_sums(self, octets: bytes) -> None:
        """
        Checksums are what scapy would write.
        """
        again = Ether(octets)
        for layer in (again.payload, again[TCP]):
            layer.fields.pop("chksum", None)
        self.assertEqual(bytes(again).hex(), octets.hex())

    def split(self, outcome: Outcome) -> tuple[Segment, bytes, bytes]:
        """
        @return: a packet with a record, its data without it, and the record.
        """
        self.assert_sums(outcome.frame)
        segment = parsed(outcome.frame)
        self.assertEqual(segment.end, len(outcome.frame))
        data = outcome.frame[segment.data :]
        return segment, data[:-SIZE], data[-SIZE:]
