# SPDX-License-Identifier: MIT
"""
The service of one node: construction, start, stop, reload.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from attrs import evolve
from twisted.application.internet import TimerService
from twisted.application.service import MultiService
from twisted.internet.defer import gatherResults, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from btcp.cluster.decision_log import DecisionStore, decisions_path
from btcp.cluster.membership import Membership
from btcp.cluster.meter import CombinedSize, Meter
from btcp.cluster.placement import Placement
from btcp.cluster.state import Admin, Decision, Health
from btcp.config import Config, ConfigErrors
from btcp.control.commands import UNSAID, Ways
from btcp.control.peers import Peers
from btcp.control.protection import protect
from btcp.datapath.ebpf.express import ExpressTables
from btcp.datapath.interface import Datapath
from btcp.express.service import Express, Held
from btcp.handoff.actions import Action, Blame, Note, Reply, Send, Witness
from btcp.handoff.bottom import BottomTcp
from btcp.handoff.messages import Capabilities, Endpoint
from btcp.handoff.route import Route
from btcp.health.build import ejection_thresholds
from btcp.health.handoff_probe import HandoffProbe
from btcp.health.origins import OriginChecks
from btcp.logs import Recorder
from btcp.node.core_settings import first_number, front_of, secured, settings
from btcp.node.dispatch import Dispatcher
from btcp.node.host_watch import HostFacts, HostWatch
from btcp.node.leases import LeaseRenewal
from btcp.node.outbound import Outbound
from btcp.node.peer_handler import PeerHandler
from btcp.node.reload import RestartNeeded, reloadable
from btcp.node.stats import NodeStats
from btcp.partition.policy import Policies

FAREWELL = 0.1
"""Seconds between the end of all flows and the removal of the datapath.  Clients' packets are
still answered with resets then: the sequence number of the first reset may have been outdated."""

SECOND = 1.0
"""Seconds between updates of what depends on time alone: slow starts and ejections."""

log = Logger()


class Node(MultiService):
    """
    A node: the sans-IO core and all that connects it to packets, peers, operators and time.

    @ivar core: the sans-IO core.
    @ivar peers: the links to the other nodes.
    @ivar peer_handler: processes messages and events of the links.
    @ivar source: reads the configuration again.
    @ivar reloaded: called when a new configuration is in effect.
    @ivar record: writes the core's notes to the access log.
    @ivar membership: the state of all nodes.
    @ivar protection: TLS, or its absence, of the links.
    @ivar failed: called with the reason if the node cannot work on this host any more.
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
        express: ExpressTables | None = None,
        facts: Callable[[], HostFacts] | None = None,
    ) -> None:
        """
        @param reactor: provides timers and the control channel; its time is monotonic, see
            L{btcp.daemon.monotonic}.
        @param clock: returns monotonic seconds.
        @param capabilities: the TCP features of this host that SYN/ACKs may offer.
        @param epoch: random, new at every start; or the epoch of an earlier daemon whose flows
            the datapath has inherited.
        @param secret: 16 to 64 random octets, the key of initial sequence numbers.
        @param admits: whether the datapath can adopt by cookie (action C{Admit}).
        @param reports: whether the datapath follows FINs and reports them.
        @param starts: the number of earlier daemons with this epoch.
        @param ways: modes of operation that this node announces to peers.
        @param express: the kernel's tables for handoffs without the core; L{None} without them.
        @param facts: reads what the host is like now; C{None} not to watch the host.
        @raise TrustError: if the node's certificates cannot be used.
        """
        super().__init__()
        self._reactor = reactor
        self._clock = clock
        self._config = config
        self._datapath = datapath
        self._started = config
        self._leaving = False
        self.source: Callable[[], Config] = lambda: self._config
        self.reloaded: Callable[[], None] = lambda: None
        self.failed: Callable[[str], None] = lambda reason: None
        self._admits = self._cookies_wanted = admits
        self._cookies = True
        self.record = Recorder(config.log.connections)
        policy = Policies(config.policy, config.node)
        weights = {name: node.weight for name, node in config.nodes.items()}
        self._placement = Placement(config.partition, policy, config.node, weights)
        self._settings = partial(
            settings,
            placement=self._placement,
            silence=self._silence,
            secret=secret,
            admits=lambda: self._admits,
            reports=reports,
            remembers=ways.resumes,
            first_number=first_number(starts),
            draining=lambda: self.draining,
            elsewhere=self._elsewhere,
            replace=self._replace,
        )
        self.core = BottomTcp(self._settings(config), capabilities)
        self._placement.loads.held = self.core.acceptor.flows.held
        self.protection = protect(config.control, config.node, reactor, self.core.counters)
        self.membership = self._make_membership(epoch)
        self._leases = LeaseRenewal(reactor, clock, self.core, datapath, self._silence)
        self._express = self._make_express(express)
        self.peer_handler = self._make_peer_handler()
        self.peers = Peers(
            config,
            epoch=epoch,
            capabilities=capabilities,
            owner=self.peer_handler,
            reactor=reactor,
            counters=self.core.counters,
            protection=self.protection,
            ways=ways,
        )
        self.peers.setServiceParent(self)
        told = self.peer_handler.handoff, self.peer_handler.terminate
        self._probe = HandoffProbe(*told, partial(front_of, config), secured(config))
        self._origins = OriginChecks(reactor, self._probe.ask, self._wants_checks, self._checked)
        self._origins.setServiceParent(self)
        self._origins.watch(config)
        looking: Any = TimerService(SECOND, self.membership.tick)
        looking.clock = reactor
        looking.setServiceParent(self)
        if facts is not None:
            self._watch_host(facts)
        shown = self.core, datapath, self.peers, self.membership
        self._stats = NodeStats(config.node, *shown, self._elsewhere_held)
        self._dispatcher = Dispatcher(reactor, clock, self.core, datapath, self._make_table())

    def _watch_host(self, facts: Callable[[], HostFacts]) -> None:
        counters, fail = self.core.counters, lambda reason: self.failed(reason)
        watch = HostWatch(self._reactor, self._datapath, counters, facts, self._host_changed, fail)
        watch.setServiceParent(self)

    def _host_changed(self, before: HostFacts, now: HostFacts) -> None:
        """
        Work as a node that was started on this host would, and tell the others.
        """
        ways = self.peers.identity.ways
        if before.cookies != now.cookies and self._cookies_wanted:
            self._admits = self._cookies = now.cookies
            self.core.context.settings = self._settings(self._config)
            ways = evolve(ways, adoption="cookie" if now.cookies else "replay")
            if self._express is not None:
                self._express.renew()
        if before.capabilities != now.capabilities:
            self.core.host_changed(now.capabilities)
        log.warn("the host has changed: {what}", what=now.differences(before))
        self._leases.renew()
        if before.capabilities != now.capabilities or ways != self.peers.identity.ways:
            self.peers.introduce(now.capabilities, ways)

    def _make_membership(self, epoch: int) -> Membership:
        fronts = CombinedSize(self.core.acceptor.flows, lambda: self._elsewhere_held()[0])
        backs = CombinedSize(self.core.adopter.flows, lambda: self._elsewhere_held()[1])
        meter = Meter(self._clock, self.core.counters, fronts, backs)
        return Membership(
            self._config,
            epoch=epoch,
            clock=self._clock,
            storage=DecisionStore(decisions_path(self._config)),
            broadcast=self._spread,
            on_weight=self._placement.set_weight,
            on_load=self._placement.loads.report,
            measure=meter.read,
            counters=self.core.counters,
            thresholds=ejection_thresholds(self._config),
        )

    def _make_peer_handler(self) -> PeerHandler:
        return PeerHandler(
            self._reactor,
            self._clock,
            self.core,
            self.perform,
            membership=self.membership,
            placement=self._placement,
            leases=self._leases,
            timeouts=lambda: self._config.timeouts,
            returning=lambda node: self.peers.returning(node),
            running=lambda: bool(self.running),
            express=self._express,
        )

    def _make_express(self, tables: ExpressTables | None) -> Express | None:
        if tables is None:
            return None
        made = Express(
            self._reactor,
            self._clock,
            lambda: self._config,
            tables,
            self._placement,
            say=lambda *word: self.peers.say_express(*word),
            perform=self.perform,
            draining=lambda: self.draining or not self._cookies,
            is_known=lambda key: key in self.core.acceptor.flows.by_key,
            recorder=self.record,
            listener=self._listener,
            counters=self.core.counters,
        )
        made.setServiceParent(self)
        return made

    def _make_table(self) -> dict[type[Action], Callable[[Any], None]]:
        return {
            Send: Outbound(self.core, self._clock, self.perform, self.peers, self._probe),
            Reply: self.peer_handler.reply,
            Note: self.record,
            Blame: lambda seen: self.membership.refused(seen.node, seen.listener, seen.reason),
            Witness: lambda seen: self._probe.reply(seen.number, seen.payload),
        }

    # -- service --------------------------------------------------------------

    def startService(self) -> None:
        """
        Start the datapath, take over flows of an earlier daemon, and start all services.

        @raise DatapathError: if the host lacks something that the datapath needs.
        """
        self._datapath.start(self.core, self._dispatcher)
        try:
            self._resume()
            super().startService()
        except BaseException:
            self._datapath.stop()
            raise
        periods = self._config.control.heartbeat / 2, self._config.timeouts.handoff / 8
        self._leases.start(min(periods))

    def _resume(self) -> None:
        """
        Take over the flows that an earlier daemon left in the datapath.
        """
        relics = self._datapath.relics()
        if not relics:
            return
        self.perform(self.core.resume(relics, self._config.nodes, self._clock()))
        counts = len(self.core.acceptor.flows), len(self.core.adopter.flows)
        log.info(
            "took over {fronts} front-end and {backs} back-end flows",
            fronts=counts[0],
            backs=counts[1],
        )
        for node in self._config.nodes:
            if node != self._config.node:
                self.peer_handler.wait_for(node, self._config.timeouts.restart_grace)

    def leave(self) -> None:
        """
        Make L{stopService} leave flows and datapath to the next daemon, if the datapath permits.
        """
        self._leaving = self.peers.identity.ways.resumes

    def stopService(self) -> Any:
        """
        End all flows and undo all changes to the host; after L{leave}, leave both to the next
        daemon.

        @return: fires when everything is done.
        """
        self._leases.stop()
        if self._leaving:
            log.info("leaving the flows to the next daemon")
            return maybeDeferred(super().stopService).addCallback(lambda _: self._undo())
        self._leases.revoke()
        self._datapath.halt()  # forwarded packets would make the resets' sequence numbers outdated
        if self._express is not None:
            self._express.stop()
        self.perform(self.core.stop(self._clock()))
        undone = deferLater(self._reactor, FAREWELL, self._undo)
        return gatherResults([undone, maybeDeferred(super().stopService)])

    def _undo(self) -> None:
        if self._leaving:
            self._datapath.leave()
        else:
            self._datapath.stop()
        self._dispatcher.stop()
        self.peer_handler.stop()

    def perform(self, actions: list[Action]) -> None:
        """
        Execute actions of the core, in order.
        """
        self._dispatcher.perform(actions)

    # -- connections between the parts -------------------------------------------

    @property
    def draining(self) -> bool:
        """
        C{True} if this node's origin is to get no new connections.
        """
        return self.membership.state is not Admin.READY

    def _elsewhere_held(self) -> tuple[int, int]:
        """
        Count the connections that are offloaded to the kernel and unknown to the core.

        @return: their numbers as front-end and as back-end.
        """
        if self._express is None or not self._express.running:
            return 0, 0
        self._datapath.refresh()  # the numbers are derived from the datapath's counters
        return self._express.fronts, self._express.backs

    def _elsewhere(self, key: bytes) -> Route | None:
        return None if self._express is None else self._express.elsewhere(key)

    def _replace(self, key: bytes, front: Endpoint, iss: int) -> None:
        if self._express is not None:
            self._express.replace(key, front, iss)

    def _listener(self, end: Endpoint) -> str | None:
        name = end.address + end.port.to_bytes(2, "big")
        return self.core.context.settings.listeners.get(name)

    def _spread(self, decision: Decision, to: str | None) -> None:
        self.peers.decide(decision, to)
        if decision.node == self._config.node and to is None:
            self.peers.tell_load()  # confirms the decision to the other nodes

    def _checked(self, health: Health, why: str) -> None:
        self.membership.checked(health, why)
        self.peers.tell_load()

    def _wants_checks(self) -> bool:
        return self.membership.state is not Admin.MAINT

    def _silence(self, node: str) -> float:
        return self.peers.silence(node)

    # -- reload -------------------------------------------------------------------

    @property
    def config(self) -> Config:
        """
        The current configuration.
        """
        return self._config

    def reload(self) -> list[str]:
        """
        Read the configuration again and apply it, entirely or not at all.  Existing connections
        are not affected.  The result is logged.

        @return: the keys that changed.
        @raise ConfigErrors: if it has errors.
        @raise RestartNeeded: if a key changed that a running node cannot change.
        """
        try:
            changed = self._reload()
        except (ConfigErrors, RestartNeeded) as problem:
            log.error("configuration not reloaded: {problem}", problem=str(problem))
            raise
        except Exception:
            log.failure("configuration not reloaded")
            raise
        self.reloaded()
        text = ", ".join(changed) or "nothing"
        log.info("configuration reloaded; changed: {text}", text=text, changed=changed)
        return changed

    def _reload(self) -> list[str]:
        new = self.source()
        changed = reloadable(self._started, self._config, new)
        if not {"partition", "policy"}.isdisjoint(changed):
            self._placement.replace(new.partition, Policies(new.policy, new.node))
        self.membership.configure(new, ejection_thresholds(new))
        if any(key.startswith("listeners.") for key in changed):
            self._origins.watch(new)
        for name, node in new.nodes.items():
            if name not in self._config.nodes:
                self.peers.add(name, node)
        self.core.context.settings = self._settings(new)
        self.peers.handoff_time = new.timeouts.handoff
        self.record.wanted = new.log.connections
        self._config = new
        if self._express is not None:
            self._express.renew()
        return changed

    # -- management interface ------------------------------------------------------

    def show(self, what: str) -> Any:
        """
        See L{NodeStats.show}.
        """
        return self._stats.show(what)

    def clear_counters(self) -> int:
        """
        See L{NodeStats.clear_counters}.
        """
        return self._stats.clear_counters()

    def shutdown_flow(self, client: Endpoint) -> int:
        """
        Reset the connections of a client's endpoint.

        @return: the number of connections; the endpoint can have one to each address.
        """
        count, actions = self.core.shut_down(client, self._clock())
        self.perform(actions)
        return count if self._express is None else count + self._express.shut_down(client)

    def held_elsewhere(self) -> Iterator[Held]:
        """
        Iterate over the connections that are offloaded to the kernel and unknown to the core.
        """
        return iter(()) if self._express is None else self._express.held()
