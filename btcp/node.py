# SPDX-License-Identifier: MIT
"""
One host of the cluster: the core, its datapath, its links to the other nodes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from math import inf
from typing import Any

from twisted.application.internet import TimerService
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, fail, gatherResults, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from btcp.config import Config
from btcp.control.commands import UNSAID, HandoffRefused, Ways
from btcp.control.link import MISSED_HEARTBEATS
from btcp.control.news import Admin, Decision, Health, Report
from btcp.control.peers import Peers
from btcp.control.protection import protect
from btcp.datapath.interface import Datapath, Promise
from btcp.handoff.actions import (
    Action,
    Admit,
    Blame,
    Deliver,
    Install,
    Note,
    PassPacket,
    Remember,
    Remove,
    Reply,
    Retract,
    Send,
    Transmit,
    Witness,
)
from btcp.handoff.bottom import BottomTcp
from btcp.handoff.context import Periods, Settings
from btcp.handoff.messages import (
    PROBER,
    Adopted,
    Capabilities,
    Endpoint,
    Handoff,
    Reason,
    Refused,
    Terminate,
)
from btcp.handoff.reconcile import Owned
from btcp.health.build import patience, watches
from btcp.health.probe import Probe
from btcp.health.watch import Checks
from btcp.ledger import Ledger, decisions_of
from btcp.load import Meter
from btcp.logs import Recorder
from btcp.membership import Membership
from btcp.partition.policy import Policies
from btcp.placement import Placement
from btcp.reload import reloadable

FAREWELL = 0.1
"""Seconds after the end of all flows in which what clients still send is answered:
with a reset they believe, for the first may have had a number that was no more right."""

ABSENCE = 5.0
"""Seconds that clients are still answered for a daemon that does nothing: it may be at work,
or be started again; if it is not, a client had better hear nothing."""

SECOND = 1.0
"""Between two looks at what grows or ends with time alone: weights, blame."""
_NUMBERS = 40
"""Bits for the flows of one daemon; above them is how many daemons there were before."""

log = Logger()


def settings(
    config: Config,
    placement: Placement,
    silence: Callable[[str], float],
    secret: bytes,
    admits: bool,
    reports: bool,
    remembers: bool,
    first_number: int,
    draining: Callable[[], bool],
) -> Settings:
    """
    @return: what the core needs to know of the configuration.
    """
    own, listeners, origins = config.own, {}, {}
    for listener in config.listeners:
        for address in config.listener_addresses(listener, own):
            listeners[address + listener.port.to_bytes(2, "big")] = listener.name
        for address in reversed(own.addresses):  # the first of a family is to stay
            version = 4 if len(address) == 4 else 6
            origins[listener.name, version] = address, listener.origin
    timeouts, limits = config.timeouts, config.limits
    return Settings(
        node=config.node,
        listeners=listeners,
        origins=origins,
        place=placement.place,
        rule=placement.rule,
        periods=Periods(
            handshake=timeouts.handshake,
            request=timeouts.request,
            handoff=timeouts.handoff,
            established=timeouts.established,
            half_closed=timeouts.half_closed,
            linger=timeouts.linger,
        ),
        max_flows=limits.flows,
        max_half_open=limits.half_open,
        max_request=limits.request,
        window_scale=config.window_scale,
        silence=silence,
        lease=MISSED_HEARTBEATS * config.control.heartbeat,
        admits=admits,
        reports=reports,
        remembers=remembers,
        first_number=first_number,
        draining=draining,
        secret=secret,
    )


def front_of(config: Config, listener: str, size: int) -> Endpoint:
    """
    @param size: octets of an address: 4 or 16.
    @return: where clients of a listener can connect to this node.
    """
    found = next(each for each in config.listeners if each.name == listener)
    addresses = config.listener_addresses(found, config.own)
    return Endpoint(next(at for at in addresses if len(at) == size), found.port)


class Node(MultiService):
    """
    The shell around the core: has its actions done, tells it the time, and who is
    there.

    @ivar core: the sans-IO core.
    @ivar peers: the links to the other nodes.
    @ivar source: reads the configuration again.
    @ivar record: puts the core's notes in the log.
    @ivar membership: how all nodes are.
    @ivar protection: of these links.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        clock: Callable[[], float],
        config: Config,
        datapath: Datapath,
        capabilities: Capabilities,
        epoch: int,
        secret: bytes,
        *,
        admits: bool = False,
        reports: bool = False,
        starts: int = 0,
        ways: Ways = UNSAID,
    ) -> None:
        """
        @param reactor: keeps the timer and the control channel.
        @param clock: monotonic seconds.  A reactor's own clock is the wall's: set
            forward, it would make every flow idle.
        @param capabilities: what this host's TCP can keep.
        @param epoch: greater than at every earlier start of this node; or that of the
            daemon whose flows the datapath has.
        @param secret: 16 to 64 random octets.
        @param admits: the datapath knows C{Admit}.
        @param reports: it follows FINs and reports them.
        @param starts: how many daemons had this epoch before.
        @param ways: what peers are told of how this node works.
        @raise TrustError: if the node's certificates cannot be used.
        """
        super().__init__()
        self._reactor = reactor
        self._clock = clock
        self._config = config
        self._cleared: Counter[str] = Counter()
        self._datapath = datapath
        self._started = config
        self.source: Callable[[], Config] = lambda: self._config
        policy = Policies(config.policy, config.node)
        weights = {name: node.weight for name, node in config.nodes.items()}
        self._placement = Placement(config.partition, policy, config.node, weights)
        self._settings = partial(
            settings,
            placement=self._placement,
            silence=self._silence,
            secret=secret,
            admits=admits,
            reports=reports,
            remembers=ways.resumes,
            first_number=(starts << _NUMBERS) + 1,
            draining=lambda: self.draining,
        )
        self.core = BottomTcp(self._settings(config), capabilities)
        self._placement.loads.held = self.core.acceptor.flows.held
        self.protection = protect(config.control, config.node, reactor, self.core.counters)
        self.peers = Peers(
            config,
            epoch=epoch,
            capabilities=capabilities,
            owner=self,
            reactor=reactor,
            counters=self.core.counters,
            protection=self.protection,
            ways=ways,
        )
        self._leaving = False
        self.peers.setServiceParent(self)
        flows = self.core.acceptor.flows, self.core.adopter.flows
        self.membership = Membership(
            config,
            epoch=epoch,
            clock=clock,
            memory=Ledger(decisions_of(config)),
            spread=self._spread,
            weigh=self._placement.weigh,
            loaded=self._placement.loads.report,
            measure=Meter(clock, self.core.counters, *flows).read,
            counters=self.core.counters,
            patience=patience(config),
        )
        self._probe = Probe(self.handoff, self.terminate, partial(front_of, config))
        self._checks: Checks | None = None
        self._watch(config)
        looking: Any = TimerService(SECOND, self.membership.tick)
        looking.clock = reactor
        looking.setServiceParent(self)
        self._epochs: dict[str, int] = {}
        self._grace: dict[str, IDelayedCall] = {}
        self._replies: dict[tuple[str, int], list[Deferred[Adopted]]] = {}
        self._timer: IDelayedCall | None = None
        self._due = inf
        self._upkeep = LoopingCall(self._renew)
        self._upkeep.clock = reactor
        self.record = Recorder(config.log.connections)
        self._do: dict[type[Action], Callable[[Any], None]] = {
            Transmit: datapath.perform,
            Deliver: datapath.perform,
            PassPacket: datapath.perform,
            Install: datapath.perform,
            Remember: datapath.perform,
            Remove: datapath.perform,
            Admit: datapath.perform,
            Retract: datapath.perform,
            Send: self._send,
            Reply: self._reply,
            Note: self.record,
            Blame: self._blame,
            Witness: lambda seen: self._probe.witness(seen.number, seen.payload),
        }

    # -- service --------------------------------------------------------------

    def startService(self) -> None:
        """
        @raise DatapathError: if the host lacks something.
        """
        self._datapath.start(self.core, self)
        try:
            self._resume()
            super().startService()
        except BaseException:
            self._datapath.stop()
            raise
        self._upkeep.start(self._config.control.heartbeat / 2)

    def _resume(self) -> None:
        """
        Go on with what an earlier daemon left.
        """
        relics = self._datapath.relics()
        if not relics:
            return
        self.perform(self.core.resume(relics, self._config.nodes, self._clock()))
        counts = len(self.core.acceptor.flows), len(self.core.adopter.flows)
        log.info("goes on with {fronts} + {backs} flows", fronts=counts[0], backs=counts[1])
        for node in self._config.nodes:
            if node != self._config.node:
                self._wait_for(node, self._config.timeouts.restart_grace)

    def leave(self) -> None:
        """
        Have L{stopService} leave flows and datapath to the next daemon, if they can be.
        """
        self._leaving = self.peers.identity.ways.resumes

    def stopService(self) -> Any:
        """
        End all flows and undo everything that was done to the host.

        @return: fires when all is done.
        """
        self._upkeep.stop()
        if self._leaving:
            log.info("leaves its flows to the next daemon")
            return maybeDeferred(super().stopService).addCallback(lambda _: self._undo())
        self._datapath.renew(None, {})
        self.perform(self.core.stop(self._clock()))
        undone = deferLater(self._reactor, FAREWELL, self._undo)
        return gatherResults([undone, maybeDeferred(super().stopService)])

    def _undo(self) -> None:
        if self._leaving:
            self._datapath.leave()
        else:
            self._datapath.stop()
        for call in [self._timer, *self._grace.values()]:
            if call is not None and call.active():
                call.cancel()

    # -- what the core wants done ---------------------------------------------

    def perform(self, actions: list[Action]) -> None:
        """
        Do what the core wants done, in this order.
        """
        for action in actions:
            self._do[type(action)](action)
        if self.core.deadline() < self._due:
            self._schedule()

    def _schedule(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._due = self.core.deadline()
        if self._due < inf:
            delay = max(self._due - self._clock(), 0.001)
            self._timer = self._reactor.callLater(delay, self._tick)

    def _tick(self) -> None:
        # What is there by now is read first: it may be what somebody waits for.
        self._timer = self._reactor.callLater(0, self._expire)

    def _expire(self) -> None:
        self._due = inf
        self.perform(self.core.tick(self._clock()))
        self._schedule()

    def _renew(self) -> None:
        """
        Tell the datapath what it may do for a while without us.
        """
        now, settings = self._clock(), self.core.context.settings
        promise = Promise(self.core.context.promise, settings.window_scale, now + ABSENCE)
        leases = {node: now - self._silence(node) + settings.lease for node in self._epochs}
        self._datapath.renew(promise, leases)

    def _send(self, action: Send) -> None:
        node, message = action.node, action.message
        if isinstance(message, Terminate) and node == PROBER:
            self._probe.ended(message.id, message.reason)
        elif isinstance(message, Terminate):
            self.peers.terminate(node, message)
        else:
            answered = self.peers.hand_off(node, message)
            answered.addCallback(partial(self._answered, node))
            answered.addErrback(_unexpected)

    def _answered(self, node: str, answer: Adopted | Refused) -> None:
        if isinstance(answer, Refused) and answer.reason is Reason.LINK_LOST:
            # The node may have the connection all the same, and may be answering:
            # the end of the link's grace, or of the handoff's time, decides.
            return
        self.perform(self.core.answer(node, answer, self._clock()))

    def _reply(self, action: Reply) -> None:
        message = action.message
        for reply in self._replies.pop((action.node, message.id), ()):
            if isinstance(message, Adopted):
                reply.callback(message)
            else:
                reply.errback(HandoffRefused(message.reason))

    # -- what the peers say; see L{btcp.control.peers.IControlled} -------------

    def handoff(self, node: str, message: Handoff) -> Deferred[Adopted]:
        """
        A peer asks us to adopt a connection.
        """
        if not self.running:
            return fail(HandoffRefused(Reason.STOPPING))
        reply: Deferred[Adopted] = Deferred()
        self._replies.setdefault((node, message.id), []).append(reply)
        self.perform(self.core.handoff(node, message, self._clock()))
        return reply

    def terminate(self, node: str, records: list[Terminate]) -> int:
        """
        A peer says that flows are over.

        @return: how many of them are unknown here.
        """
        unknown, actions = self.core.terminate(node, records, self._clock())
        self.perform(actions)
        return unknown

    def shared_with(self, node: str) -> list[int]:
        """
        See L{btcp.control.ownership.Reconciled}.
        """
        return self.core.shared_with(node)

    def owned(self, node: str, answer: Owned) -> None:
        """
        See L{btcp.control.ownership.Reconciled}.
        """
        self.perform(self.core.owned(node, answer, self._clock()))

    def named(self, node: str, numbers: list[int], more: bool) -> Owned:
        """
        A peer names flows of which it is the front-end and we are the back-end.
        """
        answer, actions = self.core.named(node, numbers, more, self._clock())
        self.perform(actions)
        return answer

    def peer_up(self, node: str, epoch: int, capabilities: Capabilities) -> None:
        """
        The link to a peer is up.
        """
        pending = self._grace.pop(node, None)
        if pending is not None:
            pending.cancel()
        if self._epochs.get(node, epoch) != epoch:
            self._lose(node, restarted=True)
        self._epochs[node] = epoch
        self.membership.link_up(node, epoch)
        self._placement.join(node)
        self.perform(self.core.peer_up(node, capabilities, self._clock()))
        self._renew()

    def peer_down(self, node: str) -> None:
        """
        The link to a peer is down; its flows are kept for a while.
        """
        self.membership.link_down(node)
        self._placement.leave(node)
        self._drop_replies(node)
        self._renew()
        self.perform(self.core.peer_down(node, self._clock()))
        timeouts = self._config.timeouts
        returning = self.peers.returning(node)
        self._wait_for(node, timeouts.restart_grace if returning else timeouts.link_grace)

    def _wait_for(self, node: str, grace: float) -> None:
        self._grace[node] = self._reactor.callLater(grace, self._grace_over, node)

    def _grace_over(self, node: str) -> None:
        self._grace.pop(node, None)
        log.warn("link to {node} stays down: its flows are lost", node=node)
        self._lose(node)

    def _lose(self, node: str, restarted: bool = False) -> None:
        self._drop_replies(node)
        self.perform(self.core.peer_lost(node, self._clock(), restarted))

    # -- how the nodes are; see L{btcp.membership} ----------------------------

    @property
    def draining(self) -> bool:
        """
        Whether this node's origin shall get nothing new.
        """
        return self.membership.state is not Admin.READY

    def report(self) -> Report:
        """
        @return: how this node is.
        """
        return self.membership.report()

    def reported(self, node: str, report: Report) -> None:
        """
        How a node is, by its own account.
        """
        self.membership.reported(node, report)

    def decided(self, node: str, decision: Decision) -> None:
        """
        What a peer heard an operator say.
        """
        self.membership.decided(node, decision)

    def _spread(self, decision: Decision, to: str | None) -> None:
        self.peers.decide(decision, to)
        if decision.node == self._config.node and to is None:
            self.peers.tell_load()  # so that others know that we know

    def _checked(self, health: Health, why: str) -> None:
        self.membership.checked(health, why)
        self.peers.tell_load()

    def _blame(self, action: Blame) -> None:
        self.membership.refused(action.node, action.listener, action.reason)

    def _silence(self, node: str) -> float:
        return self.peers.silence(node)

    def _drop_replies(self, node: str) -> None:
        for key in [key for key in self._replies if key[0] == node]:
            for reply in self._replies.pop(key):
                reply.errback(HandoffRefused(Reason.LINK_LOST))

    # -- another configuration ------------------------------------------------

    @property
    def config(self) -> Config:
        """
        What is in service.
        """
        return self._config

    def reload(self) -> list[str]:
        """
        Read the configuration again and put it into service, wholly or not at all.
        Connections that are there go on.

        @return: the keys that changed.
        @raise ConfigErrors: it has errors.
        @raise RestartNeeded: something changed that a running node cannot change.
        """
        new = self.source()
        changed = reloadable(self._started, self._config, new)
        if not {"partition", "policy"}.isdisjoint(changed):
            self._placement.replace(new.partition, Policies(new.policy, new.node))
        self.membership.configure(new, patience(new))
        if any(key.startswith("listeners.") for key in changed):
            self._watch(new)
        for name, node in new.nodes.items():
            if name not in self._config.nodes:
                self.peers.add(name, node)
        self.core.context.settings = self._settings(new)
        self.record.wanted = new.log.connections
        self._config = new
        return changed

    def _watch(self, config: Config) -> None:
        """
        Check this node's origins as a configuration says.
        """
        if self._checks is not None:
            self._checks.disownServiceParent()
            self._checks = None
            self._checked(Health.UNCHECKED, "")
        watched = watches(config, self._probe.ask)
        if watched:
            wanted = lambda: self.membership.state is not Admin.MAINT  # noqa: E731
            self._checks = Checks(self._reactor, watched, wanted, self._checked)
            self._checks.setServiceParent(self)

    # -- what the management may see, and do ----------------------------------

    def show(self, what: str) -> Any:
        """
        @param what: C{"stats"}, C{"peers"} or C{"nodes"}.
        @return: numbers, texts, lists and dictionaries.
        @raise KeyError: for anything else.
        """
        return {"stats": self._stats, "peers": self._links, "nodes": self._nodes}[what]()

    def _nodes(self) -> object:
        return {"nodes": self.membership.show()}

    def _links(self) -> object:
        states = self.peers.states().items()
        return {"peers": [{"node": node, **state} for node, state in states]}

    def _stats(self) -> object:
        counted = self._counted() - self._cleared
        return {
            "node": self._config.node,
            "flows": {"front": len(self.core.acceptor.flows), "back": len(self.core.adopter.flows)},
            "counters": dict(sorted(counted.items())),
        }

    def _counted(self) -> Counter[str]:
        self._datapath.refresh()
        return self.core.counters

    def clear_counters(self) -> int:
        """
        Count what is shown from zero; what others count by stays.

        @return: how many had moved.
        """
        before, self._cleared = self._cleared, Counter(self._counted())
        return len(self._cleared - before)

    def shutdown_flow(self, client: Endpoint) -> int:
        """
        Reset a client's connection.

        @return: how many there were; one to each address that it connected to.
        """
        count, actions = self.core.shut_down(client, self._clock())
        self.perform(actions)
        return count


def _unexpected(failure: Failure) -> None:
    log.failure("a handoff failed", failure=failure)
