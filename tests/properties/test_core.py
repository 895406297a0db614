# SPDX-License-Identifier: MIT
"""
Any packets, any messages, in any order, at any time: the core answers with actions or
moves a counter, never fails, remembers no more than it may, and in the end nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from attrs import evolve
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import SynchronousTestCase

from btcp.handoff.messages import Adopted, Endpoint, Handoff, Reason, Refused, Terminate
from btcp.handoff.states import Accept, Adopt
from btcp.wire.options import SynOptions, pack_timestamps
from btcp.wire.segment import ACK, FIN, PSH, RST, SYN, Segment, flow_key, reversed_key
from tests.simulation.cluster import CAPABILITIES, ORIGIN, PORT
from tests.simulation.script import ADDRESSES, CLIENTS, Script, Tcp

MAX_FLOWS, MAX_HALF_OPEN, MAX_QUEUE = 4, 2, 64
IRS, ISN, ISS = 2**32 - 20, 777_000, 2**32 - 7
HEAD = b"GET /%s/ HTTP/1.1\r\nHost: h.example\r\n\r\n"
SIZE = len(HEAD) - 1
ALL = SynOptions(mss=1460, scale=7, sack=True, tsval=5).pack()
SACK = b"\1\1\5\n" + bytes(8)
LONG = 5000.0
"""Seconds after which nothing is left, whatever was."""

CLIENT_KINDS: dict[str, Callable[[Tcp, bytes], Tcp]] = {
    "SYN": lambda at, _: at.but(seq=IRS, ack=0, flags=SYN, options=b"\2\4\5\xb4"),
    "SYN, all options": lambda at, _: at.but(seq=IRS, ack=0, flags=SYN, options=ALL),
    "another SYN": lambda at, _: at.but(seq=IRS + 99_999, ack=0, flags=SYN),
    "SYN/ACK": lambda at, _: at.but(seq=IRS, flags=SYN | ACK),
    "ACK": lambda at, _: at,
    "request": lambda at, where: at.but(payload=HEAD % where, flags=ACK | PSH),
    "start of a request": lambda at, where: at.but(payload=(HEAD % where)[:9]),
    "end of a request": lambda at, where: at.but(seq=at.seq + 9, payload=(HEAD % where)[9:]),
    "request, FIN": lambda at, where: at.but(payload=HEAD % where, flags=ACK | FIN),
    "no request": lambda at, _: at.but(payload=b"\x16\x03\x01"),
    "data after": lambda at, _: at.but(seq=at.seq + SIZE, payload=b"data"),
    "ACK after": lambda at, _: at.but(seq=at.seq + SIZE, ack=at.ack + 100),
    "SACK after": lambda at, _: at.but(seq=at.seq + SIZE, options=SACK),
    "timestamps": lambda at, _: at.but(seq=at.seq + SIZE, options=pack_timestamps(9, 9)),
    "options that cannot be": lambda at, _: at.but(seq=at.seq + SIZE, options=b"\5\1\1\1"),
    "FIN after": lambda at, _: at.but(seq=at.seq + SIZE, flags=FIN | ACK),
    "ACK of a FIN": lambda at, _: at.but(seq=at.seq + SIZE + 1, ack=at.ack + 1),
    "RST": lambda at, _: at.but(ack=0, flags=RST),
    "RST after": lambda at, _: at.but(seq=at.seq + SIZE, ack=0, flags=RST),
    "keep-alive": lambda at, _: at.but(seq=at.seq - 1),
    "no flags": lambda at, _: at.but(flags=0, payload=b"data"),
    "all flags": lambda at, _: at.but(flags=0xFF, payload=b"data"),
}
"""What a client sends; given an ACK that follows its SYN, and which node it wants."""

SERVER_KINDS: dict[str, Callable[[Tcp], Tcp]] = {
    "SYN/ACK": lambda at: at.but(seq=at.seq - 1, ack=IRS + 1, flags=SYN | ACK, options=ALL),
    "SYN/ACK, no options": lambda at: at.but(seq=at.seq - 1, ack=IRS + 1, flags=SYN | ACK),
    "SYN/ACK, odd": lambda at: at.but(
        seq=at.seq - 1, ack=IRS + 1, flags=SYN | ACK, options=b"\2\0\0\0"
    ),
    "ACK": lambda at: at,
    "ACK of the SYN": lambda at: at.but(ack=IRS + 1),
    "ACK of another connection": lambda at: at.but(ack=123, seq=5),
    "data": lambda at: at.but(payload=b"HTTP/1.1 200 OK\r\n", options=pack_timestamps(7, 7)),
    "FIN": lambda at: at.but(flags=FIN | ACK),
    "ACK of a FIN": lambda at: at.but(seq=at.seq + 1, ack=at.ack + 1),
    "RST": lambda at: at.but(flags=RST, ack=0),
    "RST/ACK": lambda at: at.but(flags=RST | ACK, seq=0, ack=IRS + 1),
}
"""What the local TCP sends; given an ACK of a request."""

ENDS = [(CLIENTS[0], 1, 4), (CLIENTS[0], 2, 4), (CLIENTS[1], 1, 6)]
clients = st.sampled_from([ENDS[0], *ENDS])
peers = st.sampled_from(["b", "c"])
wanted = st.sampled_from([b"a", b"b", b"r", b"0", b"x"])
numbers = st.integers(1, 5)
reasons = st.sampled_from(list(Reason))
shifts = st.sampled_from([0] * 8 + [1, -1, 1000, -70_000, 2**31])
octets = st.one_of(
    *[st.just([])] * 4,
    st.lists(st.tuples(st.integers(0, 70), st.integers(0, 255)), min_size=1, max_size=3),
)
"""Of a packet that are changed: seldom any."""


class Core(RuleBasedStateMachine):
    """
    A node, to which things happen.
    """

    @initialize(admits=st.booleans(), same_port=st.booleans())
    def begin(self, admits: bool, same_port: bool) -> None:
        """
        A node with little room.
        """
        self.origin = PORT if same_port else ORIGIN
        own = ADDRESSES["a"]
        self.script = Script(
            admits=admits,
            remembers=True,
            max_flows=MAX_FLOWS,
            max_half_open=MAX_HALF_OPEN,
            max_request=100,
            origins={("web", 4): (own[0], self.origin), ("web", 6): (own[1], self.origin)},
        )
        self.iss: dict[bytes, int] = {}
        self.stopped = False

    def take(self, packet: Tcp, seq: int, ack: int, spoil: list[tuple[int, int]]) -> None:
        """
        A packet comes, perhaps with other numbers, or with other octets.
        """
        buffer = bytearray(packet.but(seq=packet.seq + seq, ack=packet.ack + ack).pack())
        for at, value in spoil:
            if at < len(buffer):
                buffer[at] = value
        for sent in self.script.receive(bytes(buffer)):
            if sent.flags & (SYN | ACK) == SYN | ACK:
                self.iss[reversed_key(sent.key)] = sent.seq

    # -- packets --------------------------------------------------------------

    @rule(
        client=clients,
        kind=st.sampled_from(list(CLIENT_KINDS)),
        where=wanted,
        seq=shifts,
        ack=shifts,
        spoil=octets,
    )
    def client_sends(
        self,
        client: tuple[bytes, int, int],
        kind: str,
        where: bytes,
        seq: int,
        ack: int,
        spoil: list[tuple[int, int]],
    ) -> None:
        """
        To the listener.
        """
        address, port, version = client
        key = flow_key(address, port, ADDRESSES["a"][version == 6], PORT)
        at = Tcp(key=key, seq=IRS + 1, ack=self.iss.get(key, 0) + 1, window=500)
        self.take(CLIENT_KINDS[kind](at, where), seq, ack, spoil)

    @rule(client=clients, where=wanted)
    def client_asks(self, client: tuple[bytes, int, int], where: bytes) -> None:
        """
        The usual: handshake and request.
        """
        for kind in ("SYN", "ACK", "request"):
            self.client_sends(client, kind, where, 0, 0, [])

    @rule(
        client=clients,
        kind=st.sampled_from(list(CLIENT_KINDS)),
        seq=shifts,
        ack=shifts,
        spoil=octets,
    )
    def front_end_forwards(
        self,
        client: tuple[bytes, int, int],
        kind: str,
        seq: int,
        ack: int,
        spoil: list[tuple[int, int]],
    ) -> None:
        """
        To the origin; or somebody sends it without a front-end.
        """
        address, port, version = client
        key = flow_key(address, port, ADDRESSES["a"][version == 6], self.origin)
        at = Tcp(key=key, seq=IRS + 1, ack=ISN + 1, window=500)
        self.take(CLIENT_KINDS[kind](at, b"a"), seq, ack, spoil)

    @rule(
        client=clients,
        kind=st.sampled_from(list(SERVER_KINDS)),
        isn=st.sampled_from([ISN, ISS]),
        seq=shifts,
        ack=shifts,
        spoil=octets,
    )
    def local_tcp_sends(
        self,
        client: tuple[bytes, int, int],
        kind: str,
        isn: int,
        seq: int,
        ack: int,
        spoil: list[tuple[int, int]],
    ) -> None:
        """
        From the origin.
        """
        address, port, version = client
        key = flow_key(ADDRESSES["a"][version == 6], self.origin, address, port)
        at = Tcp(key=key, seq=isn + 1, ack=IRS + 1 + SIZE, window=500)
        self.take(SERVER_KINDS[kind](at), seq, ack, spoil)

    @rule(client=clients)
    def local_tcp_adopts(self, client: tuple[bytes, int, int]) -> None:
        """
        The usual: SYN/ACK and the ACK of the request.
        """
        for kind in ("SYN/ACK", "ACK"):
            self.local_tcp_sends(client, kind, ISN, 0, 0, [])

    @rule(client=clients, by_front_end=st.booleans())
    def both_close(self, client: tuple[bytes, int, int], by_front_end: bool) -> None:
        """
        The usual end.
        """
        for kind in ("FIN after", "ACK of a FIN"):
            if by_front_end:
                self.front_end_forwards(client, kind, 0, 0, [])
            else:
                self.client_sends(client, kind, b"a", 0, 0, [])
            self.local_tcp_sends(client, "FIN", ISN, 0, 1, [])

    @rule(client=clients)
    def not_admitted(self, client: tuple[bytes, int, int]) -> None:
        """
        A request comes back.
        """
        address, port, version = client
        key = flow_key(address, port, ADDRESSES["a"][version == 6], self.origin)
        packet = bytearray(Tcp(key=key).pack())
        segment = Segment(packet, 0, len(packet))
        self.script.do(self.script.core.bounced(segment, self.script.now))

    @rule(packet=st.binary(max_size=80))
    def anything_comes(self, packet: bytes) -> None:
        """
        Octets.
        """
        before = self.script.core.counters.total()
        self.script.receive(packet)
        assert self.script.core.counters.total() > before

    @rule(client=clients, mtu=st.integers(0, 2000))
    def too_big(self, client: tuple[bytes, int, int], mtu: int) -> None:
        """
        A router cannot pass on a packet to a client.
        """
        address, port, version = client
        if version == 4:
            front = ADDRESSES["a"][0]
            quoted = Tcp(key=flow_key(front, PORT, address, port)).pack()
            ip = bytes((0x45, 0, 0, 68, 0, 0, 0, 0, 64, 1, 0, 0)) + front + front
            self.script.receive(ip + b"\3\4\0\0\0\0" + mtu.to_bytes(2, "big") + quoted)
            assert len(self.script.passed) == 1

    # -- messages -------------------------------------------------------------

    @rule(
        peer=peers,
        number=numbers,
        client=clients,
        listener=st.sampled_from(["web", "web", "web", "other"]),
        full=st.booleans(),
        mss=st.sampled_from([0, 1, 536, 1460, 65_535]),
    )
    def asked_to_adopt(
        self,
        peer: str,
        number: int,
        client: tuple[bytes, int, int],
        listener: str,
        full: bool,
        mss: int,
    ) -> None:
        """
        By a front-end.
        """
        address, port, version = client
        order = Handoff(
            id=number,
            listener=listener,
            client=Endpoint(address, port),
            front=Endpoint(ADDRESSES[peer][version == 6], PORT),
            irs=IRS,
            iss=ISS,
            window=64_240,
            mss=mss,
            client_scale=-1,
            front_scale=-1,
            sack=False,
            tsval=-1,
            front_tsval=-1,
            acked=0,
            request=HEAD % b"a",
        )
        if full:
            order = evolve(order, client_scale=14, front_scale=7, sack=True, tsval=5, front_tsval=6)
        self.script.hear(peer, order)

    def meant(self, peer: str, number: int) -> tuple[str, int]:
        """
        @return: mostly, a flow for which another node was asked, and that node; else
            what was given.
        """
        for flow in self.script.core.acceptor.flows.by_key.values():
            if flow.node not in (None, "a") and number > 1:
                return flow.node or peer, flow.number
        return peer, number

    @rule(peer=peers, number=numbers, version=st.booleans(), delta=st.integers(0, 2**32 - 1))
    def adopted(self, peer: str, number: int, version: bool, delta: int) -> None:
        """
        A back-end has it, or says so.
        """
        peer, number = self.meant(peer, number)
        message = Adopted(
            id=number, isn=ISN, ts_delta=delta, address=ADDRESSES[peer][version], port=ORIGIN
        )
        self.script.hear(peer, message)

    @rule(peer=peers, number=numbers, reason=reasons)
    def refused(self, peer: str, number: int, reason: Reason) -> None:
        """
        A back-end will not have it, or says so.
        """
        peer, number = self.meant(peer, number)
        self.script.hear(peer, Refused(id=number, reason=reason))

    @rule(peer=peers, number=numbers, reason=reasons)
    def ended(self, peer: str, number: int, reason: Reason) -> None:
        """
        A back-end says that it is over.
        """
        peer, number = self.meant(peer, number)
        self.over(peer, "a", number, reason, 0)

    @rule(
        peer=peers,
        front=st.sampled_from("abc"),
        number=numbers,
        reason=reasons,
        ends=st.sampled_from([0, 1, 2**32 - 1]),
    )
    def over(self, peer: str, front: str, number: int, reason: Reason, ends: int) -> None:
        """
        A peer says that a flow is over.
        """
        message = Terminate(
            front=front, id=number, reason=reason, client_next=ends, server_next=ends
        )
        self.script.hear(peer, message)

    @rule(peer=peers, what=st.sampled_from(["peer_down", "peer_lost", "restarted"]))
    def link_lost(self, peer: str, what: str) -> None:
        """
        For a moment, for good, or because the peer begins anew.
        """
        core, now = self.script.core, self.script.now
        if what == "peer_down":
            self.script.do(core.peer_down(peer, now))
        else:
            self.script.do(core.peer_lost(peer, now, what == "restarted"))

    @rule(peer=peers, sack=st.booleans(), mtu=st.sampled_from([1280, 1500, 9000]))
    def link_up(self, peer: str, sack: bool, mtu: int) -> None:
        """
        With what it can keep.
        """
        able = evolve(CAPABILITIES, sack=sack, mtu=mtu)
        self.script.do(self.script.core.peer_up(peer, able, self.script.now))

    @rule(peer=peers, named=st.lists(numbers, max_size=3), more=st.booleans())
    def front_end_names(self, peer: str, named: list[int], more: bool) -> None:
        """
        What it says it has here.
        """
        self.script.named(peer, *named, more=more)

    @rule(peer=peers, number=numbers, what=st.sampled_from(["nothing", "closed", "unknown"]))
    def back_end_lacks(self, peer: str, number: int, what: str) -> None:
        """
        What we name; and something else, for all that we know.
        """
        core = self.script.core
        lacks = [number, *core.shared_with(peer)]
        self.script.owned(peer, **({} if what == "nothing" else {what: lacks}))

    # -- time -----------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.0, 0.001, 0.3, 1.0, 5.0, 130.0, 1000.0]))
    def time_passes(self, seconds: float) -> None:
        """
        And what is due is done.
        """
        self.script.wait(seconds)

    @rule()
    def node_stops(self) -> None:
        """
        Nothing is remembered from then on.
        """
        self.script.do(self.script.core.stop(self.script.now))
        assert not self.script.core.acceptor.flows
        assert not self.script.core.adopter.flows
        self.stopped = True

    @rule(nodes=st.sampled_from(["abc", "abc", "abc", "ab"]))
    def another_daemon(self, nodes: str) -> None:
        """
        The one that runs is killed, and the next goes on with what it left.
        """
        self.script.take_over(*nodes)
        self.stopped = False

    # -- what always holds ----------------------------------------------------

    @invariant()
    def tables_are_bounded(self) -> None:
        """
        However much comes.
        """
        accepted, adopted = self.script.core.acceptor.flows, self.script.core.adopter.flows
        assert len(accepted) <= MAX_FLOWS and len(adopted) <= MAX_FLOWS
        assert accepted.half_open <= MAX_HALF_OPEN
        assert all(len(flow.queue) <= MAX_QUEUE for flow in accepted.by_key.values())
        assert not (self.stopped and len(accepted))

    @invariant()
    def tables_agree(self) -> None:
        """
        A flow is found by everything, or by nothing.
        """
        accepted, adopted = self.script.core.acceptor.flows, self.script.core.adopter.flows
        flows = list(accepted.by_key.values())
        assert [flow.number for flow in flows] == list(accepted.by_number)
        assert accepted.half_open == sum(f.state is Accept.SYN_RECEIVED for f in flows)
        asked = {flow.number for node in "abc" for flow in accepted.at(node)}
        assert asked == {flow.number for flow in flows if flow.node is not None}
        backs = list(adopted.outbound.values())
        assert len(backs) == len(adopted.by_order)
        assert set(backs) == set(adopted.by_order.values())
        assert set(backs) == {flow for node in "abc" for flow in adopted.of(node)}
        assert set(adopted.inbound.values()) == {flow for flow in backs if flow.peer != "a"}

    @invariant()
    def flows_have_an_end(self) -> None:
        """
        Each waits for some time, none for ever.
        """
        core = self.script.core
        assert all(flow.deadline < inf for flow in core.acceptor.flows.by_key.values())
        assert all(flow.deadline < inf for flow in core.adopter.flows.outbound.values())
        assert all(flow.deadline < inf for flow in core.adopter.flows.graves.values())
        assert not core.context.local

    @invariant()
    def routes_are_of_flows(self) -> None:
        """
        The datapath holds nothing that the core has forgotten.
        """
        core = self.script.core
        known: set[bytes] = set(core.adopter.flows.outbound) | set(core.adopter.flows.inbound)
        known |= {f.key for f in core.acceptor.flows.by_key.values() if f.route is not None}
        known |= set(core.adopter.flows.graves)
        assert set(self.script.datapath.routes) <= known
        assert set(self.script.datapath.memos) <= set(self.script.datapath.routes)
        spliced = {
            flow.outbound
            for flow in core.adopter.flows.outbound.values()
            if flow.state in (Adopt.SPLICED, Adopt.CLOSING)
        }
        assert spliced <= set(self.script.datapath.routes)

    def teardown(self) -> None:
        """
        Let time pass: nothing remains.
        """
        if hasattr(self, "script"):
            self.script.wait(LONG)
            assert self.script.empty, self.script.core.counters


class CoreTests(SynchronousTestCase):
    """
    Runs the machine.
    """

    def test_any_order(self) -> None:
        run_state_machine_as_test(
            Core, settings=settings(max_examples=150, stateful_step_count=40, deadline=None)
        )
