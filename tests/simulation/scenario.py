# SPDX-License-Identifier: MIT
"""
One client, one connection, from the SYN until everybody forgot it.
"""

from __future__ import annotations

from random import Random

from attrs import define, field, frozen

from btcp.content.contract import RequestKey
from btcp.handoff.messages import Capabilities
from btcp.wire.gso import split
from btcp.wire.segment import RST, Malformed, Segment, flow_key
from tests.simulation.clock import Clock
from tests.simulation.cluster import ORIGIN, PORT, Cluster, Plan, packed
from tests.simulation.host import Stack
from tests.simulation.http import Browser, Request, Server
from tests.simulation.kernel import Reporting
from tests.simulation.network import MTU, Faults, Network
from tests.simulation.tcp import TIME_WAIT, Abilities, Connection

CLIENT = {4: packed("198.51.100.7"), 6: packed("2001:db8:100::7")}
CLIENT_PORT = 40_001
_PLACES = {"/a/": ["a"], "/b/": ["b"], "/c/": ["c"], "/r/": ["c", "b", "a"]}
_LONG = 300.0
"""Seconds of virtual time after which a connection hangs."""


def place(key: RequestKey, live: set[str]) -> list[str] | None:
    """
    C{/a/} is on node a, and so on; C{/r/} is on all of them; nothing else is anywhere.
    """
    nodes = _PLACES.get(key.path[:3])
    return None if nodes is None else [node for node in nodes if node in live]


@frozen(kw_only=True)
class Scenario:
    """
    @ivar version: of IP.
    @ivar requests: what the client asks for, one after the other.
    @ivar pieces: octets the client writes at once; 0 for all.
    @ivar server_closes: after how many responses; 0 if the client is to close.
    @ivar server_waits: seconds before each answer.
    @ivar client_resets: after how many octets; C{-1} for never.
    @ivar wrap: all sequence numbers begin just before 2**32.
    @ivar nodes: how many.
    @ivar origin: the origin's port.
    @ivar admits: kernels make connections without a handshake.
    @ivar reporting: kernels do what the tc programs do; C{None} if they do not.
    """

    seed: int = 1
    version: int = 4
    faults: Faults = Faults()
    client: Abilities = Abilities()
    kernel: Abilities = Abilities()
    requests: tuple[Request, ...] = (Request(),)
    pieces: int = 0
    half_close: bool = False
    server_closes: int = 0
    server_resets: bool = False
    server_waits: float = 0.0
    client_resets: int = -1
    wrap: bool = False
    nodes: int = 2
    origin: int = ORIGIN
    admits: bool = False
    reporting: Reporting | None = None
    window_scale: int = 7
    mtu_to_client: int = MTU

    def capabilities(self) -> Capabilities:
        """
        @return: what the kernels can keep, as their nodes say.
        """
        kernel = self.kernel
        return Capabilities(
            mtu=min(kernel.mss + (40 if self.version == 4 else 60), MTU),
            sack=kernel.sack,
            timestamps=kernel.timestamps,
            window_scaling=kernel.scale >= 0,
        )

    def run(self) -> Outcome:
        """
        @return: what became of it.
        """
        outcome = Outcome(self)
        outcome.run()
        return outcome


@define(eq=False)
class Outcome:
    """
    @ivar received: by the server programs, a connection each.
    @ivar resets: RSTs sent to the client while it was waiting.  One that comes
        after it has everything and closed says no more than that a lost
        acknowledgment was asked for after the flow was forgotten.
    """

    scenario: Scenario
    clock: Clock = field(init=False)
    network: Network = field(init=False)
    cluster: Cluster = field(init=False)
    client: Stack = field(init=False)
    browser: Browser = field(init=False)
    connection: Connection = field(init=False)
    served: list[Connection] = field(factory=list)
    resets: int = 0

    def __attrs_post_init__(self) -> None:
        scenario = self.scenario
        self.clock, random = Clock(), Random(scenario.seed)
        self.network = Network(self.clock, random, scenario.faults)
        self.network.watch.append(self._see)
        plan = Plan(
            names=("a", "b", "c")[: scenario.nodes],
            place=place,
            origin=scenario.origin,
            window_scale=scenario.window_scale,
            capabilities=scenario.capabilities(),
            admits=scenario.admits,
            reporting=scenario.reporting,
        )
        self.cluster = Cluster(plan, self.clock, random, self.network)
        for node in self.cluster.nodes.values():
            node.serve(scenario.kernel, self._server)
        self.client = Stack("client", self.clock, random, self._from_client)
        if scenario.window_scale > scenario.kernel.scale:  # rounding down to coarser units
            self.client.tolerated = 1 << scenario.window_scale
        address = CLIENT[scenario.version]
        self.network.hosts[address] = self.client.receive
        if scenario.mtu_to_client < MTU:
            self.network.narrow[address] = scenario.mtu_to_client
        self.browser = Browser(
            list(scenario.requests),
            self._write,
            half_close=scenario.half_close,
            resets=scenario.client_resets,
        )
        if scenario.wrap:
            self._begin_before_wrap()

    def _begin_before_wrap(self) -> None:
        stacks = [self.client, *(node.kernel for node in self.cluster.nodes.values())]
        for stack in stacks:
            stack.next_iss = 2**32 - self.cluster.random.randrange(1, 3000)
        front, version = self.cluster.nodes["a"], self.scenario.version
        key = flow_key(CLIENT[version], CLIENT_PORT, front.addresses[version == 6], PORT)
        context = front.core.context
        context.now = 0.0
        ticks = 2**32 - 2000 - context.initial_sequence_number(key)
        self.clock.now = ticks % 2**32 / 250_000

    def _server(self) -> Server:
        scenario = self.scenario
        return Server(
            self.served, scenario.server_closes, scenario.server_resets, scenario.server_waits
        )

    def _from_client(self, segment: Segment) -> None:
        for packet in split(segment):
            self.network.send(bytes(packet))

    def _write(self, connection: Connection, data: bytes) -> None:
        size = self.scenario.pieces or len(data)
        for start in range(0, len(data), size):
            connection.send(data[start : start + size])

    def _see(self, packet: bytes) -> None:
        try:
            segment = Segment(bytearray(packet), 0, len(packet))
        except Malformed:
            return
        if segment.destination == CLIENT[self.scenario.version]:
            self.resets += bool(segment.flags & RST and not self.browser.done)

    def run(self) -> None:
        """
        Let it happen.
        """
        self.connection = self.connect(self.browser)
        self.clock.run(_LONG, lambda: not self.client.connections)
        self.rest()

    def connect(self, browser: Browser, front: str = "a", port: int = CLIENT_PORT) -> Connection:
        """
        Have the client open a connection.

        @param front: the node it connects to.
        """
        version = self.scenario.version
        target = self.cluster.nodes[front].addresses[version == 6], PORT
        return self.client.connect(CLIENT[version], target, self.scenario.client, browser, port)

    def wait(self, browser: Browser) -> None:
        """
        Let time pass until the browser has everything.
        """
        self.clock.run(_LONG, lambda: browser.done)

    def rest(self) -> None:
        """
        Let so much time pass that all may be forgotten.
        """
        self.clock.run(2 * TIME_WAIT)

    def complaints(self) -> list[str]:
        """
        @return: what was not as it should be, whatever happened.
        """
        stacks = [self.client, *(node.kernel for node in self.cluster.nodes.values())]
        said = [each for stack in stacks for each in stack.complaints]
        if self.client.connections:
            said.append(f"the client hangs: {self.connection.state}")
        received, unable = self.connection.received, b"HTTP/1.1 503 "
        if not (self.browser.expected.startswith(received) or received.startswith(unable)):
            said.append("the client got octets that nobody sent")
        for each in self.served:
            if not self.browser.sent.startswith(each.received):
                said.append("a server got octets that the client did not send")
        return said + self.cluster.remains() + self.network.oversized

    def failures(self) -> list[str]:
        """
        @return: as L{complaints}, if also everything is to be delivered.
        """
        said = self.complaints()
        got, expected = len(self.connection.received), len(self.browser.expected)
        if not self.browser.done or got != expected:
            said.append(f"the client got {got} octets of {expected}")
        if [each.received for each in self.served] != [bytes(self.browser.sent)]:
            said.append("not exactly one server got exactly what the client sent")
        if self.resets:
            said.append(f"{self.resets} resets")
        return said


def draw(random: Random) -> Scenario:
    """
    @return: a scenario in which everything has to arrive.
    """
    pick = random.choice
    faults = pick(
        [
            Faults(),
            Faults(loss=0.02),
            Faults(late=0.2),
            Faults(doubling=0.2),
            Faults(loss=0.05, doubling=0.05, late=0.1),
            Faults(loss=0.15, late=0.3, jitter=0.1),
        ]
    )
    path = pick(["/a/", "/b/", "/r/"])
    window_scale = pick([0, 7, 7, 14])
    requests = tuple(
        Request(
            path=path,
            response=pick([0, 1, 500, 1460, 20_000, 60_000]),
            seed=random.getrandbits(16),
            filler=pick([0, 0, 300, 1400, 5000, 14_900]),
            body=pick([0, 0, 0, 1, 3000, 70_000]),
        )
        for _ in range(pick([1, 1, 2, 3]))
    )
    written = sum(len(request.pack()) for request in requests)
    return Scenario(
        seed=random.getrandbits(32),
        version=pick([4, 6]),
        faults=faults,
        client=_abilities(random, [1000, 33_000, 65_535, 200_000]),
        # what a front-end with that scale may promise, kernels have to keep
        kernel=_abilities(random, [65_535, 200_000] + [33_000] * (window_scale < 14)),
        requests=requests,
        pieces=pick([0, 0, 1000, 100, 1 if written < 1000 else 0]),
        half_close=pick([False, True]),
        server_closes=pick([0, len(requests)]),
        wrap=pick([False, True]),
        nodes=pick([2, 3]),
        origin=pick([ORIGIN, PORT]),
        admits=pick([False, True]),
        window_scale=window_scale,
        mtu_to_client=pick([MTU, MTU, 1300]),
    )


def _abilities(random: Random, windows: list[int]) -> Abilities:
    pick = random.choice
    return Abilities(
        mss=pick([536, 1220, 1440]),
        scale=pick([-1, 0, 7, 7, 14]),
        sack=pick([False, True]),
        timestamps=pick([False, True]),
        window=pick(windows),
        delayed=pick([False, True]),
        odd=pick([False, True]),
        batch=pick([1, 1, 8]),
    )
