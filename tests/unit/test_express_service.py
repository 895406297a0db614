# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.express.service}, with an account of what a kernel would do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from attrs import evolve
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from btcp.cluster.placement import Placement
from btcp.config import Config, loads
from btcp.control.express import MAX_RECORDS, Subject, Word
from btcp.datapath.ebpf import abi
from btcp.express import news, service
from btcp.express.entries import Entry
from btcp.express.service import DOUBT, REST, SWEEPS, TICK, Express
from btcp.handoff.actions import Action, Deliver, Transmit
from btcp.handoff.carry import TRAIL
from btcp.handoff.memo import digest
from btcp.handoff.messages import Endpoint, Reason
from btcp.lab.topology import node_yaml
from btcp.partition.policy import Policies
from btcp.wire.segment import reversed_key
from tests.unit.express_case import CLIENT, FakeRecorder, FakeTables, Made

KEY = bytes(range(16))
A, B, C = 1, 2, 3
"""Numbers of nodes."""
LEASE = B
"""Of front-end C{b}."""


class ServiceCase(SynchronousTestCase):
    """
    Node C{a} of C{a}, C{b} and C{c}.
    """

    def setUp(self) -> None:
        overrides = {"timeouts": {"established": 100, "half-closed": 20, "linger": 2}}
        text = node_yaml("a", self.mktemp(), "abc", {**overrides, "run": "/r", "state": "/s"})
        self.config: Config = loads(text, "node.yaml")
        self.reactor = MemoryReactorClock()
        self.tables = FakeTables()
        self.said: list[tuple[str, Word]] = []
        self.heard: list[Callable[[], None]] = []
        self.links: set[str] = set()
        self.done: list[Action] = []
        self.is_draining = False
        self.known: set[bytes] = set()
        self.recorder = FakeRecorder("all")
        self.counters: Counter[str] = Counter()
        weights = dict.fromkeys("abc", 100.0)
        policies = Policies(self.config.policy, "a")
        self.placement = Placement(self.config.partition, policies, "a", weights)
        self.express = Express(
            self.reactor,
            self.reactor.seconds,
            lambda: self.config,
            self.tables.faked,
            self.placement,
            say=self.say,
            perform=self.done.extend,
            draining=lambda: self.is_draining,
            is_known=lambda key: key in self.known,
            recorder=self.recorder,
            listener=lambda end: f"port {end.port}",
            counters=self.counters,
        )
        self.express.startService()
        self.addCleanup(self.stop)

    def stop(self) -> None:
        if self.express.running:
            self.express.stopService()

    def say(self, node: str, word: Word, heard: Callable[[], None]) -> bool:
        if node not in self.links:
            return False
        self.said.append((node, word))
        self.heard.append(heard)
        return True

    def up(self, node: str) -> None:
        """
        The link is up, and the node says its key, and has heard ours.
        """
        self.links.add(node)
        self.express.peer_up(node)
        self.express.said(node, Word(Subject.KEY, KEY))
        for heard in self.heard:
            heard()
        self.said.clear()
        self.heard.clear()

    def over(self, *made: Made) -> None:
        """
        The kernel says that these are.
        """
        self.tables.ring.events += [each.ending() for each in made]
        if self.express in self.reactor.readers:
            self.express.doRead()

    def resets(self) -> tuple[list[bytes], list[bytes]]:
        """
        @return: keys of those that were sent to clients, and to the local TCP.
        """
        clients = [each.segment.key for each in self.done if isinstance(each, Transmit)]
        servers = [each.segment.key for each in self.done if isinstance(each, Deliver)]
        self.done.clear()
        return clients, servers


class PeerTests(ServiceCase):
    def test_begins(self) -> None:
        """
        With itself: it can hand to itself, and believes its own records.
        """
        own = self.tables.destinations[A]
        assert own is not None
        self.assertTrue(own.own)
        self.assertEqual(self.tables.fronts, {digest("a"): (own.key, 0)})
        self.assertEqual(self.tables.planned.own, digest("a"))
        self.assertTrue(self.tables.planned.decides)
        self.assertIn(self.express, self.reactor.readers)

    def test_key_counts_once_it_is_answered(self) -> None:
        self.links.add("b")
        self.express.peer_up("b")
        [(node, word)] = self.said
        self.assertEqual((node, word.subject), ("b", Subject.KEY))
        self.assertNotIn(B, self.tables.destinations)
        self.heard[0]()
        found = self.tables.destinations[B]
        assert found is not None
        addresses = self.config.nodes["b"].addresses
        self.assertEqual((found.key, found.own), (word.data, False))
        self.assertEqual({found.v4, found.v6}, {*addresses})

    def test_a_new_key_with_each_link(self) -> None:
        for _ in range(2):
            self.links.add("b")
            self.express.peer_up("b")
        keys = [word.data for _, word in self.said]
        self.assertEqual(len({*keys}), 2)

    def test_node_that_does_none_of_this(self) -> None:
        self.express.peer_up("b")
        self.assertEqual((self.said, list(self.tables.destinations)), ([], [A]))

    def test_believes(self) -> None:
        self.up("b")
        self.assertEqual(self.tables.fronts[digest("b")], (KEY, LEASE))
        self.express.said("b", Word(Subject.KEY, KEY[::-1]))
        self.assertEqual(self.tables.fronts[digest("b")], (KEY[::-1], LEASE))

    def test_link_is_down(self) -> None:
        """
        What was handed over goes on.
        """
        self.up("b")
        self.tables.install(Made(node=B).front)
        self.express.peer_down("b")
        self.assertIsNone(self.tables.destinations[B])
        self.assertEqual((len(self.tables.entries), self.resets()), (1, ([], [])))
        self.up("b")
        self.assertIsNotNone(self.tables.destinations[B])

    def test_draining(self) -> None:
        self.assertTrue(self.tables.planned.adopts)
        self.is_draining = True
        self.placement.set_weight("a", 0.0)
        self.reactor.advance(0)
        self.assertFalse(self.tables.planned.adopts)
        self.assertTrue(self.tables.planned.decides)

    def test_decides_anew_when_something_changed(self) -> None:
        """
        Once, however much that was.
        """
        self.assertEqual(self.tables.decided("h", "/shared/x"), [A])
        self.tables.told.clear()
        self.placement.join("b")
        self.placement.join("c")
        self.assertEqual(self.tables.told, [])
        self.reactor.advance(0)
        self.assertEqual(self.tables.decided("h", "/shared/x"), [A, B, C])
        self.assertEqual(self.tables.told.count("plan"), 1)

    def test_head(self) -> None:
        """
        As large as the configuration in service allows.
        """
        self.assertEqual(self.tables.planned.head, self.config.limits.request)
        self.config = evolve(self.config, limits=evolve(self.config.limits, request=100))
        self.express.renew()
        self.reactor.advance(0)
        self.assertEqual(self.tables.planned.head, 100)

    def test_further_node(self) -> None:
        """
        Who had a number keeps it.
        """
        nodes = {"0": self.config.nodes["b"], **self.config.nodes}
        self.config = evolve(self.config, nodes=nodes)
        self.express.renew()
        self.reactor.advance(0)
        self.up("0")
        self.assertIsNotNone(self.tables.destinations[4])


class LostTests(ServiceCase):
    """
    A node is gone, and its half of all that was shared with it.
    """

    def test_back_end(self) -> None:
        """
        Who has begun to hear an answer is reset.
        """
        self.up("b")
        for holds in (False, True):
            mine, others = Made(node=B, acked=9, holds=holds), Made(port=2, node=C)
            self.tables.install(mine.front, others.front)
            self.express.peer_lost("b")
            self.assertEqual(list(self.tables.entries), [others.front.key])
            self.assertEqual(self.resets(), ([mine.response], []))
        self.assertEqual(self.counters["express.lost"], 2)

    def test_nothing_answered_yet(self) -> None:
        """
        The client sends its request again, if that was not acknowledged, and it finds another
        node.
        """
        for holds in (False, True):
            made = Made(node=B, holds=holds)
            self.tables.install(made.front)
            self.express.peer_lost("b")
            self.assertEqual(self.tables.entries, {})
            self.assertEqual(self.resets(), ([] if holds else [made.response], []))

    def test_acknowledged(self) -> None:
        """
        Who does not send it again waits for the response, and hears that there is none; but not
        of a connection that was handed off anew, by whomever.
        """
        silent, core, kernel = (Made(port=port, node=B, holds=True) for port in (1, 2, 3))
        self.tables.install(silent.front, core.front, kernel.front)
        self.express.peer_lost("b")
        self.known.add(core.front.route.key)
        self.tables.install(evolve(kernel, node=A).front)
        self.assertEqual(self.resets(), ([], []))
        self.reactor.advance(service.RETRANSMISSION_TIME)
        self.assertEqual(self.resets(), ([silent.response], []))

    def test_front_end(self) -> None:
        self.up("b")
        mine, others = Made(lease=LEASE), Made(port=2, lease=LEASE + 1)
        self.tables.install(mine.inbound, mine.outbound, others.inbound, others.outbound)
        self.links.clear()
        self.express.peer_lost("b")
        self.assertEqual({*self.tables.entries}, {others.inbound.key, others.outbound.key})
        clients, servers = self.resets()
        self.assertEqual(({*clients}, servers), ({mine.response}, [mine.forwarded]))
        self.up("b")
        self.assertEqual(self.said, [])

    def test_own_are_kept(self) -> None:
        made = Made(node=A, joined=True)
        self.tables.install(made.front, made.outbound)
        for node in "bc":
            self.express.peer_lost(node)
        self.assertEqual((len(self.tables.entries), self.resets()), (2, ([], [])))


class WordTests(ServiceCase):
    """
    What other nodes say of connections.
    """

    LINGER = 2 + TRAIL

    def test_ended(self) -> None:
        """
        A FIN sent again still finds its way for a while.
        """
        made = Made(node=B)
        self.express.said("b", Word(Subject.ENDED, made.front.done))
        self.reactor.advance(self.LINGER - TICK)
        self.assertEqual(self.tables.reaped, [])
        self.reactor.advance(TICK)
        self.assertEqual(self.tables.reaped, [(made.front.done, False)])
        self.assertEqual(self.tables.named, [B])  # whose they must be

    def test_gone(self) -> None:
        self.up("b")
        made = [Made(port=port, lease=LEASE) for port in (1, 2, 3)]
        for each in made:
            self.tables.install(each.inbound, each.outbound)
        words = b"".join(each.front.told for each in made[:2])
        self.express.said("b", Word(Subject.GONE, words))
        self.assertEqual(self.resets(), ([], [each.forwarded for each in made[:2]]))
        self.assertEqual({*self.tables.entries}, {made[2].inbound.key, made[2].outbound.key})

    def test_gone_is_anothers(self) -> None:
        """
        Another node's, another connection's of the same ends, of the core, or of nobody.
        """
        self.up("b")
        self.up("c")
        made = Made(lease=LEASE)
        self.tables.install(made.inbound, made.outbound)
        self.express.said("c", Word(Subject.GONE, made.front.told))
        self.express.said("b", Word(Subject.GONE, evolve(made, iss=7).front.told))
        self.express.said("b", Word(Subject.GONE, evolve(made, port=7).front.told))
        self.assertEqual((len(self.tables.entries), self.resets()), (2, ([], [])))

    def test_back(self) -> None:
        """
        It goes at once: the client's next packet is to find another node.
        """
        made = Made(node=B, holds=True)
        self.tables.install(made.front)
        self.express.said("b", Word(Subject.BACK, made.front.done))
        self.assertEqual(self.tables.reaped, [(made.front.done, False)])
        self.assertEqual(self.resets(), ([], []))

    def test_gone_here(self) -> None:
        """
        Of both halves here, no peer has anything to say.
        """
        self.up("b")
        made = Made(joined=True)
        self.tables.install(made.front, made.outbound)
        self.express.said("b", Word(Subject.GONE, made.front.told))
        self.assertEqual((len(self.tables.entries), self.resets()), (2, ([], [])))


class EndTests(ServiceCase):
    """
    Connections are over, of which we are the back-end.
    """

    def test_told(self) -> None:
        self.up("b")
        made = [Made(port=port, lease=LEASE) for port in (1, 2)]
        self.over(*made)
        told = b"".join(each.front.done for each in made)
        self.assertEqual(self.said, [("b", Word(Subject.ENDED, told))])
        own = b"".join(each.outbound.done for each in made)
        self.reactor.advance(2 + TRAIL + TICK)
        self.assertEqual(self.tables.reaped, [(own, True)])

    def test_rests_between(self) -> None:
        self.up("b")
        self.over(Made(port=1, lease=LEASE))
        self.over(Made(port=2, lease=LEASE))
        self.assertEqual(len(self.said), 1)
        self.assertNotIn(self.express, self.reactor.readers)
        self.reactor.advance(REST)
        self.assertIn(self.express, self.reactor.readers)
        self.express.doRead()
        self.assertEqual(len(self.said), 2)

    def test_why(self) -> None:
        """
        One word for each reason.
        """
        self.up("b")
        reasons = {
            abi.RESET_BY_SERVER: Reason.RESET_BY_ORIGIN,
            abi.BOTH_CLOSED: Reason.CLOSED,
            abi.RESET_BY_CLIENT: Reason.RESET_BY_CLIENT,
        }
        made = {why: Made(port=why + 1, lease=LEASE) for why in reasons}
        self.tables.ring.events += [each.ending(why) for why, each in made.items()]
        self.express.doRead()
        words = [Word(Subject.ENDED, made[why].front.done, to) for why, to in reasons.items()]
        self.assertEqual(self.said, [("b", word) for word in words])

    def test_doubtful_reset_that_the_local_tcp_believed(self) -> None:
        """
        The connection is gone when the daemon looks: the front-end is told.
        """
        self.up("b")
        made = Made(lease=LEASE)
        self.tables.install(made.inbound, made.outbound)
        self.tables.ring.events.append(made.ending(abi.DOUBTFUL))
        self.express.doRead()
        self.assertEqual(self.said, [])
        self.reactor.advance(DOUBT)
        word = Word(Subject.ENDED, made.front.done, Reason.RESET_BY_CLIENT)
        self.assertEqual(self.said, [("b", word)])

    def test_doubtful_reset_that_it_did_not_believe(self) -> None:
        """
        A stranger's: the connection is still there.
        """
        self.up("b")
        made = Made(lease=LEASE)
        self.tables.install(made.inbound, made.outbound)
        self.tables.connections.add(made.outbound.key)
        self.tables.ring.events.append(made.ending(abi.DOUBTFUL))
        self.express.doRead()
        self.reactor.advance(DOUBT)
        self.assertEqual((self.said, self.resets()), ([], ([], [])))
        self.assertEqual(len(self.tables.entries), 2)

    def test_own(self) -> None:
        """
        Nobody has to be told.
        """
        made = Made(joined=True)
        self.over(made)
        self.assertEqual(self.said, [])
        self.reactor.advance(2 + TRAIL + TICK)
        expected = [(made.outbound.done, True), (made.front.done, False)]
        self.assertEqual(sorted(self.tables.reaped), sorted(expected))

    def test_of_nobody_that_is_known(self) -> None:
        self.over(Made(lease=9))
        self.assertEqual(self.said, [])

    def test_link_is_down(self) -> None:
        """
        They wait for it, in their order.
        """
        self.up("b")
        self.links.clear()
        made = [Made(port=port, lease=LEASE) for port in (1, 2, 3)]
        for each in made:
            self.over(each)
            self.reactor.advance(REST)
        self.assertEqual(self.said, [])
        self.links.add("b")
        self.express.peer_up("b")
        told = b"".join(each.front.done for each in made)
        self.assertEqual(self.said[1:], [("b", Word(Subject.ENDED, told))])

    def test_after_a_takeover(self) -> None:
        """
        Whose connections an earlier daemon took is known before their front-ends say anything:
        they hear of the ends, and if they are gone, so is what they had.
        """
        over, lost = Made(port=1, lease=LEASE), Made(port=2, lease=LEASE)
        self.tables.install(lost.inbound, lost.outbound)
        self.over(over)
        self.express.peer_lost("c")
        self.assertEqual(self.resets(), ([], []))
        self.links.add("b")
        self.express.peer_up("b")
        self.assertEqual(self.said[1:], [("b", Word(Subject.ENDED, over.front.done))])
        self.express.peer_lost("b")
        self.assertEqual(self.tables.entries, {})

    def test_more_than_a_word(self) -> None:
        self.up("b")
        made = [Made(port=port, lease=LEASE) for port in range(MAX_RECORDS + 1)]
        self.over(*made)
        sizes = [len(word.data) // 44 for _, word in self.said]
        self.assertEqual(sizes, [MAX_RECORDS, 1])

    def test_bounded(self) -> None:
        """
        The oldest its front-end will have given up by itself.
        """
        self.up("b")
        self.links.clear()
        self.patch(news, "MOST_UNTOLD", 3)
        self.over(*(Made(port=port, lease=LEASE) for port in range(5)))
        self.links.add("b")
        self.express.peer_up("b")
        told = b"".join(Made(port=port).front.done for port in (2, 3, 4))
        self.assertEqual(self.said[1:], [("b", Word(Subject.ENDED, told))])


class IdleTests(ServiceCase):
    """
    The kernel reports nothing of connections of which nothing is heard.
    """

    def install(self, *entries: Entry) -> None:
        self.tables.entries.clear()
        self.tables.install(*entries)

    def at(self, seconds: float) -> None:
        while self.reactor.seconds() < seconds:
            self.reactor.advance(0.25)

    def test_front_half(self) -> None:
        made = Made(node=B, used=10.0)
        self.install(made.front)
        self.at(109.0)
        self.assertEqual(self.tables.reaped, [])
        self.at(111.0 + SWEEPS)
        self.assertEqual({*self.tables.reaped}, {(made.front.done, False)})
        self.assertEqual(self.resets(), ([], []))

    def test_back_half(self) -> None:
        self.up("b")
        made = Made(lease=LEASE, used=10.0)
        self.install(made.inbound, made.outbound)
        self.at(109.0)
        self.assertEqual(len(self.tables.entries), 2)
        self.at(111.0 + SWEEPS)
        clients, servers = self.resets()
        self.assertEqual(({*clients}, servers), ({made.response}, [made.forwarded]))
        self.assertEqual(self.tables.entries, {})
        self.assertEqual(self.said, [("b", Word(Subject.ENDED, made.front.done, Reason.IDLE))])
        self.assertEqual(self.counters["express.idle"], 1)

    def test_one_direction_is_enough(self) -> None:
        made = Made(lease=LEASE)
        self.install(evolve(made, used=300.0).inbound, evolve(made, used=1.0).outbound)
        self.at(300.0)
        self.assertEqual(len(self.tables.entries), 2)
        here = Made(joined=True)
        self.install(evolve(here, used=500.0).front, here.outbound)
        self.at(500.0)
        self.assertEqual((len(self.tables.entries), self.resets()), (2, ([], [])))

    def test_here(self) -> None:
        """
        Both halves at once.
        """
        made = Made(joined=True, node=A)
        self.install(made.front, made.outbound)
        self.at(101.0 + SWEEPS)
        clients, servers = self.resets()
        self.assertEqual(({*clients}, servers), ({made.response}, [made.forwarded]))
        self.assertEqual((self.tables.entries, self.said), ({}, []))

    def test_half_without_the_other(self) -> None:
        """
        The beginning was lost on its way, or there was no room.
        """
        for entry in (Made(joined=True, node=A).front, Made(lease=LEASE).inbound):
            self.install(entry)
            self.tables.reaped.clear()
            self.at(self.reactor.seconds() + 101.0 + SWEEPS)
            self.assertEqual({*self.tables.reaped}, {(entry.done, False)})


class StopTests(ServiceCase):
    def test_all_end(self) -> None:
        self.up("b")
        front, back = Made(port=1, node=B), Made(port=2, lease=LEASE)
        here = Made(port=3, node=A, joined=True)
        self.tables.install(front.front, back.inbound, back.outbound, here.front, here.outbound)
        self.express.stop()
        self.assertEqual(self.tables.entries, {})
        clients, servers = self.resets()
        self.assertEqual({*clients}, {each.response for each in (front, back, here)})
        self.assertEqual({*servers}, {back.forwarded, here.forwarded})
        ended = Word(Subject.ENDED, back.front.done, Reason.STOPPING)
        gone = Word(Subject.GONE, front.front.told)
        self.assertCountEqual(self.said, [("b", ended), ("b", gone)])
        self.assertFalse(self.tables.planned.adopts or self.tables.planned.decides)

    def test_gives_back(self) -> None:
        """
        What can be asked of others: the client is not reset, and its front-end hears of it.
        """
        self.up("b")
        waits = Made(port=1, lease=LEASE, holds=True, octets=0)
        begun = Made(port=2, lease=LEASE, holds=True)
        sends = Made(port=3, lease=LEASE, octets=0)
        for made in (waits, begun, sends):
            self.tables.install(made.inbound, made.outbound)
        self.express.stop()
        self.assertEqual(self.tables.entries, {})
        clients, servers = self.resets()
        self.assertEqual({*clients}, {begun.response, sends.response})
        self.assertEqual({*servers}, {made.forwarded for made in (waits, begun, sends)})
        ended = begun.front.done + sends.front.done
        back = Word(Subject.BACK, waits.front.done)
        said = [back, Word(Subject.ENDED, ended, Reason.STOPPING)]
        self.assertEqual(self.said, [("b", word) for word in said])

    def test_what_was_over(self) -> None:
        """
        Its front-end hears of it once, as it was, though nobody has read it yet; and nobody is
        reset.
        """
        self.up("b")
        known, unread = (Made(port=port, lease=LEASE, closing=abi.OVER) for port in (1, 2))
        mine = Made(port=3, node=B, closing=abi.OVER)
        self.over(known)
        self.tables.install(known.inbound, known.outbound, unread.outbound, mine.front)
        self.tables.ring.events.append(unread.ending())
        self.express.stop()
        right = [("b", Word(Subject.ENDED, made.front.done)) for made in (known, unread)]
        self.assertEqual(self.said, right)
        self.assertEqual(self.tables.entries, {})
        self.assertEqual(self.resets(), ([], []))

    def test_more_than_a_word(self) -> None:
        self.up("b")
        self.tables.install(*(Made(port=port, node=B).front for port in range(MAX_RECORDS + 1)))
        self.express.stop()
        sizes = [len(word.data) // 44 for _, word in self.said]
        self.assertEqual(sizes, [MAX_RECORDS, 1])

    def test_of_a_node_that_is_no_more(self) -> None:
        """
        An earlier daemon had more of them.
        """
        made = Made(node=9)
        self.tables.install(made.front)
        self.express.stop()
        self.assertEqual((self.tables.entries, self.said), ({}, []))
        self.assertEqual(self.resets(), ([made.response], []))

    def test_nothing_is_left_running(self) -> None:
        self.over(Made(joined=True))
        self.placement.join("b")
        self.stop()
        self.assertEqual(self.reactor.readers, set())
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertTrue(self.tables.ring.closed)
        self.placement.join("c")
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class ShutDownTests(ServiceCase):
    """
    An operator resets a client's connections.
    """

    def test_each_once(self) -> None:
        """
        As front-end, as back-end, and as both.
        """
        self.up("b")
        others = Made(port=9, node=B)
        client = Endpoint(CLIENT, 1000)
        for made, entries, said in (
            (front := Made(node=B), [front.front], [("b", Word(Subject.GONE, front.front.told))]),
            (
                back := Made(lease=LEASE),
                [back.inbound, back.outbound],
                [("b", Word(Subject.ENDED, back.front.done, Reason.ABANDONED))],
            ),
            (here := Made(node=A, joined=True), [here.front, here.outbound], []),
        ):
            self.tables.install(*entries, others.front)
            self.assertEqual(self.express.shut_down(client), 1)
            self.assertEqual(list(self.tables.entries), [others.front.key])
            clients, servers = self.resets()
            self.assertEqual({*clients}, {made.response})
            self.assertEqual(servers, [] if made is front else [made.forwarded])
            self.assertEqual(self.said, said)
            self.said.clear()

    def test_of_nobody(self) -> None:
        """
        Or of one that is over.
        """
        over = Made(closing=abi.OVER)
        self.tables.install(over.front, over.inbound, over.outbound)
        self.assertEqual(self.express.shut_down(Endpoint(CLIENT, 1)), 0)
        self.assertEqual(self.express.shut_down(Endpoint(CLIENT, 1000)), 0)
        self.assertEqual((len(self.tables.entries), self.resets()), (3, ([], [])))

    def test_shown(self) -> None:
        self.up("b")
        made = Made(node=B, lease=LEASE)
        here, unknown = Made(port=2, node=A, joined=True), Made(port=3, node=9, lease=9)
        for each in (made, here, unknown):
            half = [] if each.joined else [each.inbound]
            self.tables.install(each.front, *half, each.outbound)
        found = [(each.role, each.entry.client.port, each.node) for each in self.express.held()]
        right = [("front", 1000, "b"), ("back", 1000, "b"), ("front", 2, "a"), ("back", 2, "a")]
        self.assertEqual(found, [*right, ("front", 3, None), ("back", 3, None)])


class CountTests(ServiceCase):
    """
    How many connections there are.
    """

    def counts(self, **counted: int) -> tuple[int, int]:
        for name, count in counted.items():
            self.counters[f"ebpf.{name}"] = count
        return self.express.fronts, self.express.backs

    def test_of_the_kernel(self) -> None:
        self.assertEqual(self.counts(expressed=9, regained=2, adopted=5, ended=1), (7, 4))

    def test_left_by_an_earlier_daemon(self) -> None:
        self.stop()
        front, back, over = Made(node=B), Made(port=2), Made(port=3, closing=abi.OVER)
        self.tables.install(front.front, back.inbound, back.outbound, over.outbound)
        self.express.startService()
        self.assertEqual(self.counts(), (1, 1))

    def test_ended_under_an_earlier_daemon_is_removed(self) -> None:
        """
        That daemon's queue of flow entries to remove died with it.
        """
        self.stop()
        over, own = Made(port=3, closing=abi.OVER), Made(port=4, closing=abi.OVER, joined=True)
        self.tables.install(over.outbound, own.outbound)
        self.express.startService()
        self.reactor.advance(2 + TRAIL + TICK)
        removed = dict(self.tables.reaped)
        self.assertIn(over.outbound.done, b"".join(each for each, both in removed.items() if both))
        self.assertIn(own.front.done, b"".join(each for each, both in removed.items() if not both))

    def test_front_ends_half(self) -> None:
        """
        However it ends, it counts once.
        """
        self.up("b")
        made = [Made(port=port, node=B) for port in range(5)]
        self.tables.install(*(each.front for each in made))
        self.counts(expressed=5)
        self.express.said("b", Word(Subject.ENDED, made[0].front.done))
        self.tables.remove([made[0].front.key])
        self.express.said("b", Word(Subject.BACK, made[1].front.done))
        self.tables.remove([made[1].front.key])
        self.assertEqual(self.counts(), (3, 0))
        self.express.peer_lost("b")
        self.assertEqual(self.counts(), (0, 0))

    def test_back_ends_half(self) -> None:
        """
        The kernel counts those that it reports.
        """
        self.up("b")
        gone, lost, over = (Made(port=port, lease=LEASE) for port in (1, 2, 3))
        for made in (gone, lost, evolve(over, closing=abi.OVER)):
            self.tables.install(made.inbound, made.outbound)
        self.counts(adopted=3, ended=1)
        self.over(over)
        self.assertEqual(self.counts(), (0, 2))
        self.express.said("b", Word(Subject.GONE, gone.front.told))
        self.assertEqual(self.counts(), (0, 1))
        self.express.peer_lost("b")
        self.assertEqual(self.counts(), (0, 0))

    def test_here(self) -> None:
        ended, idle = Made(port=1, joined=True), Made(port=2, joined=True)
        self.tables.install(idle.front, idle.outbound)
        self.counts(expressed=2, adopted=2)
        self.over(ended)
        self.assertEqual(self.counts(ended=1), (1, 1))
        for _ in range(2000):
            self.reactor.advance(0.25)
        self.assertEqual(self.counts(), (0, 0))


class ReplaceTests(ServiceCase):
    """
    The core is handed a connection of a client whose old one the kernel still has.
    """

    def setUp(self) -> None:
        super().setUp()
        self.up("b")
        self.made = Made(lease=LEASE)
        self.tables.install(self.made.inbound, self.made.outbound)
        self.front = self.made.outbound.listener

    def test_client_began_anew(self) -> None:
        """
        The local TCP is reset and the front-end told; the client gets nothing.
        """
        self.express.replace(self.made.forwarded, self.front, self.made.iss + 1)
        clients, servers = self.resets()
        self.assertEqual((clients, servers), ([], [self.made.forwarded]))
        word = Word(Subject.ENDED, self.made.front.done, Reason.ABANDONED)
        self.assertEqual(self.said, [("b", word)])
        self.assertEqual(self.tables.entries, {})

    def test_same_connection_stays(self) -> None:
        self.express.replace(self.made.forwarded, self.front, self.made.iss)
        self.assertEqual((self.resets(), len(self.tables.entries)), (([], []), 2))

    def test_connection_by_another_front_end_stays(self) -> None:
        """
        The client uses one port for two addresses of the cluster: both connections live.
        """
        other = Endpoint(self.front.address, self.front.port + 1)
        self.express.replace(self.made.forwarded, other, self.made.iss + 1)
        self.assertEqual((self.resets(), len(self.tables.entries)), (([], []), 2))


class ElsewhereTests(ServiceCase):
    """
    What the core asks of ends that it does not know.
    """

    def found(self, key: bytes) -> Any:
        route = self.express.elsewhere(key)
        return None if route is None else route.key

    def test_front_half(self) -> None:
        made = Made(node=B)
        self.tables.install(made.front)
        self.assertEqual(self.found(made.request), made.request)
        self.assertIsNone(self.found(made.forwarded))

    def test_back_half(self) -> None:
        made = Made(lease=LEASE)
        self.tables.install(made.inbound, made.outbound)
        self.assertEqual(self.found(made.forwarded), made.forwarded)
        self.tables.remove([made.inbound.key])
        self.assertEqual(self.found(made.forwarded), made.answer)

    def test_here(self) -> None:
        made = Made(joined=True)
        self.tables.install(made.front, made.outbound)
        self.assertEqual(self.found(made.request), made.request)
        self.assertEqual(self.found(made.forwarded), made.answer)

    def test_closing(self) -> None:
        """
        Another connection may have its ends.
        """
        made = Made(closing=1)
        self.tables.install(made.front, made.inbound, made.outbound)
        self.assertEqual((self.found(made.request), self.found(made.forwarded)), (None, None))

    def test_nobodys(self) -> None:
        made = Made()
        self.assertIsNone(self.found(made.request))
        self.assertIsNone(self.found(reversed_key(made.request)))
