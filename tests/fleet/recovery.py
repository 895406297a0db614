# SPDX-License-Identifier: MIT
"""
A node dies, and the clients of the others.

The cluster of C{tests/simulation}: every node runs the real core with the real timers; hosts'
TCPs, wires and links are imagined.  How long it takes until a link notices is not: it is
drawn from between what L{tests.fleet.links.detection} found.
"""

from __future__ import annotations

from collections import Counter
from random import Random

from attrs import define, field, frozen

from btcp.content.contract import RequestKey
from btcp.partition.consistent import Consistent
from btcp.partition.contract import Snapshot
from btcp.partition.rules import Rule, RuleMap
from tests.simulation.clock import Clock
from tests.simulation.cluster import GRACE, PORT, Cluster, Message, Node, Plan, packed
from tests.simulation.host import Stack
from tests.simulation.http import Browser, Request, Server
from tests.simulation.network import Network
from tests.simulation.tcp import Abilities, Connection, State

REPLICAS = 3
_CLIENT = packed("198.51.100.7")
_THINKS = 0.2
"""Seconds in which a server makes a response."""
_CALM = 2.0
"""Seconds from the first client to the death."""
_STORM = 8.0
"""Seconds in which clients come after it."""
_END = 60.0
_STEP = 0.05
"""Seconds between two looks at what is remembered."""


@define(eq=False)
class Visit:
    """
    One client's connection.

    @ivar at: when it began, in seconds after the death.
    @ivar asks: how many requests.
    @ivar ended: when it was over, in the same seconds; C{None}: it never was.
    """

    at: float
    front: str
    asks: int
    browser: Browser
    connection: Connection
    ended: float | None = None

    @property
    def served(self) -> bool:
        """
        Whether everything came.
        """
        return len(self.connection.received) == len(self.browser.expected) > 0

    @property
    def took(self) -> float:
        """
        Seconds.
        """
        return _END if self.ended is None else self.ended - self.at


@frozen
class Recovery:
    """
    @ivar visits: connections of all clients whose front-end lived.
    @ivar usual: the longest a visit took that began after all was over.
    @ivar slow: visits that took longer than twice that.
    @ivar slowest: seconds that the longest of these took, if it was served.
    @ivar last: seconds from the death to the end of the last slow one.
    @ivar broken: visits that were not served: their response had begun.
    @ivar told: seconds from the death until the last of these knew.
    @ivar freed: seconds from the death until nobody remembers a flow of the dead node's.
    """

    nodes: int
    visits: int
    usual: float
    slow: int
    slowest: float
    last: float
    broken: int
    told: float
    freed: float


@define(eq=False)
class Overheard(Cluster):
    """
    @ivar said: messages between nodes, by kind.
    """

    said: Counter[str] = field(factory=Counter)

    def say(self, speaker: Node, name: str, message: Message) -> None:
        """
        See L{Cluster.say}.
        """
        self.said[type(message).__name__] += 1
        super().say(speaker, name, message)


@define(eq=False)
class Fleet:
    """
    A cluster and its clients.

    """

    nodes: int
    rate: float
    noticed: tuple[float, float]
    dies: int = 0
    clock: Clock = field(factory=Clock)
    random: Random = field(factory=lambda: Random(20))
    visits: list[Visit] = field(factory=list)
    cluster: Overheard = field(init=False)
    client: Stack = field(init=False)
    _died: float = 0.0
    _rules: RuleMap = field(init=False)
    _policy: Consistent = field(factory=Consistent)

    def __attrs_post_init__(self) -> None:
        names = tuple(f"n{number}" for number in range(self.nodes))
        sets = [
            tuple(names[(at + more) % self.nodes] for more in range(REPLICAS))
            for at in range(self.nodes)
        ]
        self._rules = RuleMap(tuple(Rule(None, f"/{at}/", held) for at, held in enumerate(sets)))
        network = Network(self.clock, self.random)
        plan = Plan(names=names, place=self._place)
        self.cluster = Overheard(plan, self.clock, self.random, network)
        for node in self.cluster.nodes.values():
            node.serve(Abilities(), lambda: Server(waits=_THINKS))
        self.client = Stack("clients", self.clock, self.random, self._from_client)
        network.hosts[_CLIENT] = self.client.receive

    def _place(self, key: RequestKey, live: set[str]) -> list[str] | None:
        replicas = self._rules.lookup(key)
        if replicas is None:
            return None
        return self._policy.rank(replicas, key, Snapshot(dict.fromkeys(live, 1.0)))

    def _from_client(self, segment: object) -> None:
        self.cluster.network.send(bytes(segment.buffer))  # type: ignore[attr-defined]

    # -- clients --------------------------------------------------------------

    def come(self, seconds: float) -> None:
        """
        Have clients come at random, from now on and for so long.
        """
        at = 0.0
        while (at := at + self.random.expovariate(self.rate)) < seconds:
            self.clock.call_later(at, self._visit)

    def _visit(self) -> None:
        front = self.random.choice([node for node in self.cluster.nodes.values() if not node.dead])
        # Half of them want what the dying node holds, or few would notice.
        held = (self.dies - self.random.randrange(REPLICAS)) % self.nodes
        part = self.random.choice((held, self.random.randrange(self.nodes)))
        request = Request(path=f"/{part}/", seed=self.random.getrandbits(16))
        browser = Browser([request] * self.random.choice((1, 2)))
        asks = len(browser.requests)

        def changed(connection: Connection) -> None:
            browser(connection)
            over = browser.done or connection.state is State.CLOSED
            if over and visit.ended is None:
                visit.ended = self.clock.now - self._died

        connection = self.client.connect(_CLIENT, (front.addresses[0], PORT), Abilities(), changed)
        visit = Visit(self.clock.now - self._died, front.name, asks, browser, connection)
        self.visits.append(visit)

    # -- deaths ---------------------------------------------------------------

    def die(self, name: str) -> None:
        """
        A host loses its power, and one peer after the other notices.
        """
        self.cluster.nodes[name].dead = True
        for peer in self.cluster.nodes:
            if peer != name:
                self._notice(name, peer)

    def _notice(self, name: str, peer: str) -> None:
        delay = self.random.uniform(*self.noticed)
        self.clock.call_later(delay, lambda: self.cluster.cut_link(name, peer))

    def run(self) -> Recovery:
        """
        Let it happen.
        """
        dies = f"n{self.dies}"
        self._died = self.clock.now + _CALM
        self.come(_CALM + _STORM)
        self.clock.call_later(_CALM, lambda: self.die(dies))
        freed = self._until_freed(dies)
        self.clock.run(_END)
        return self._recovery(dies, freed)

    def _until_freed(self, dies: str) -> float:
        self.clock.run(_CALM)
        while self._remembered(dies) and self.clock.now < self._died + _END:
            self.clock.run(_STEP)
        return self.clock.now - self._died

    def _remembered(self, dead: str) -> bool:
        return any(
            node.core.acceptor.flows.held[dead] or node.core.adopter.flows.of(dead)
            for node in self.cluster.nodes.values()
            if not node.dead
        )

    def _recovery(self, dead: str, freed: float) -> Recovery:
        visits = [visit for visit in self.visits if visit.front != dead]
        after = self.noticed[1] + GRACE
        usual = max(visit.took for visit in visits if visit.at > after)
        served = [visit for visit in visits if visit.served]
        slow = [visit for visit in served if visit.took > 2 * usual]
        broken = [visit for visit in visits if not visit.served]
        return Recovery(
            nodes=self.nodes,
            visits=len(visits),
            usual=usual,
            slow=len(slow),
            slowest=max((visit.took for visit in slow), default=0.0),
            last=max((visit.at + visit.took for visit in slow), default=0.0),
            broken=len(broken),
            told=max((visit.at + visit.took for visit in broken), default=0.0),
            freed=freed,
        )
