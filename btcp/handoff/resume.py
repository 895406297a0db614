# SPDX-License-Identifier: MIT
"""
Take-over of the flows that an earlier daemon left in the datapath.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from btcp.handoff.accept import Acceptor
from btcp.handoff.actions import Remove
from btcp.handoff.adopt import Adopter
from btcp.handoff.carry import TRAIL
from btcp.handoff.context import Context
from btcp.handoff.flows import AcceptedFlow, AdoptedFlow, receiver, sender
from btcp.handoff.memo import BadMemo, Memo, Past, Relic, Role, digest
from btcp.handoff.messages import Handoff, Reason
from btcp.handoff.route import EVERYTHING, Route
from btcp.handoff.states import Accept, Adopt, Arrival, Progress
from btcp.handoff.teardown import Teardown
from btcp.wire.options import SynOptions
from btcp.wire.segment import reversed_key


class Resumption:
    """
    Take-over of inherited entries; used once, before the first packet arrives.
    """

    def __init__(self, acceptor: Acceptor, adopter: Adopter, nodes: Iterable[str]) -> None:
        """
        @param nodes: the names of all nodes.
        """
        self._acceptor = acceptor
        self._adopter = adopter
        self._context: Context = acceptor.context
        settings = self._context.settings
        self._nodes = {digest(name): name for name in nodes}
        self._listeners = {digest(name): name for name in settings.listeners.values()}

    def resume(self, relics: Sequence[Relic]) -> None:
        """
        Make flows of the inherited entries, and remove the entries that belong to none.
        """
        routes = {relic.key: relic.route for relic in relics if relic.route is not None}
        memos = list(self._memos(relics, routes))
        claimed: set[bytes] = set()
        for key, memo in memos:
            if memo.role is Role.FRONT:
                claimed.add(self._front(key, routes[key], memo))
        for key, memo in memos:
            if memo.role is Role.BACK:
                claimed.update(self._back(key, routes, memo))
        for relic in relics:
            if relic.key not in claimed:
                self._context.count("resumed.removed")
                self._context.actions.append(Remove(relic.key))
        self._agree()
        for peer in self._nodes.values():
            if peer != self._context.settings.node:
                self._adopter.hold(peer, True)

    def _memos(
        self, relics: Iterable[Relic], routes: dict[bytes, Route]
    ) -> Iterable[tuple[bytes, Memo]]:
        """
        Parse the saved state, skipping what is invalid or belongs to nodes or listeners that are
        not in the configuration.
        """
        for relic in relics:
            if relic.memo is None or relic.key not in routes:
                continue
            try:
                memo = Memo.unpack(relic.memo)
            except BadMemo:
                self._context.count("resumed.bad-memo")
                continue
            rewritten = routes[relic.key].rewriter is not None
            if memo.peer in self._nodes and memo.listener in self._listeners and rewritten:
                yield relic.key, memo

    # -- as front-end ---------------------------------------------------------

    def _front(self, key: bytes, route: Route, memo: Memo) -> bytes:
        context, flows = self._context, self._acceptor.flows
        listener = self._listeners[memo.listener]
        flow = AcceptedFlow(
            number=memo.number,
            key=key,
            back=reversed_key(key),
            listener=listener,
            irs=memo.irs,
            iss=memo.iss,
            window=0,
            offered=SynOptions(),
            reader=context.settings.reader(listener),
            started=memo.started,
            route=route,
            client_ack=route.ack,
            discarded=memo.request,
            # The flow cannot move to another node, because the request was not kept.
            sacked=True,
        )
        over = bool(memo.past & Past.OVER)
        flow.open = not over
        flow.cookie = route.rewriter is not None and not route.rewriter.splice.ack
        flows.add(flow)
        flows.move(flow, Accept.CLOSED if over else Accept.FORWARDING)
        flows.give(flow, self._nodes[memo.peer])
        periods, now = context.settings.periods, context.now
        wait = periods.linger if over else periods.established
        self._acceptor.timers.set(flow, now + wait, now)
        context.count("resumed.front")
        return key

    # -- as back-end ----------------------------------------------------------

    def _back(self, key: bytes, routes: dict[bytes, Route], memo: Memo) -> tuple[bytes, ...]:
        """
        Make a back-end flow.

        @return: the keys of the flow entries that belong to it; empty if there is none.
        """
        peer, own = self._nodes[memo.peer], self._context.settings.node
        inbound, to_client = reversed_key(key), routes[key]
        assert to_client.rewriter is not None  # checked by _memos
        front = self._acceptor.flows.by_number.get(memo.number) if peer == own else None
        to_server = front.route if front is not None else routes.get(inbound)
        if to_server is None or to_client.awaits is not None:  # an incomplete adoption
            return ()
        flow = AdoptedFlow(
            peer=peer,
            order=self._order(key, to_client, memo),
            inbound=inbound,
            outbound=key,
            started=memo.started,
            isn=memo.isn,
            ts_delta=memo.ts_delta,
            to_server=to_server,
            to_client=to_client,
            teardown=_teardown(memo),
            taken=True,
            follows=to_client.follows,
            request_octets=memo.request,
        )
        if flow.follows:
            to_client.lease = peer
            flow.teardown.merge(to_client, to_server)
        flow.state = _state(memo, flow)
        shown = to_client.punt != EVERYTHING and not flow.follows
        if memo.past & (Past.BEGUN | Past.OVER) or shown:
            to_client.octets = max(
                to_client.octets, 1
            )  # octets that the earlier daemon sent are not counted
        self._adopter.flows.add(flow)
        self._time(flow)
        self._context.count("resumed.back")
        return (key,) if peer == own else (key, inbound)

    def _order(self, key: bytes, to_client: Route, memo: Memo) -> Handoff:
        """
        Restore the part of the handoff message that is needed after the splice.
        """
        assert to_client.rewriter is not None
        return Handoff(
            id=memo.number,
            listener=self._listeners[memo.listener],
            client=receiver(key),
            front=sender(to_client.rewriter.splice.new),
            irs=memo.irs,
            iss=memo.iss,
            window=0,
            mss=0,
            client_scale=-1,
            front_scale=-1,
            sack=False,
            tsval=-1,
            front_tsval=-1,
            acked=0,
            request=b"",
        )

    def _time(self, flow: AdoptedFlow) -> None:
        periods, now = self._context.settings.periods, self._context.now
        waits = {
            Adopt.SPLICED: periods.established,
            Adopt.CLOSING: periods.half_closed,
            Adopt.CLOSED: periods.linger + TRAIL,
        }
        self._adopter.timers.set(flow, now + waits[flow.state], now)

    # -- flows with both halves on this node --------------------------------------

    def _agree(self) -> None:
        """
        End flows that only one half of this node has, although it is front-end and back-end.
        """
        own = self._context.settings.node
        adopted = {flow.order.id: flow for flow in self._adopter.flows.of(own)}
        for front in self._acceptor.flows.at(own):
            if adopted.pop(front.number, None) is None:
                self._acceptor.step(front, Arrival.RESPONSE_LOST, Reason.ABANDONED)
        for back in adopted.values():
            self._adopter.step(back, Progress.FRONT_LOST, Reason.ABANDONED)


def _teardown(memo: Memo) -> Teardown:
    teardown = Teardown()
    if memo.past & Past.CLIENT_FIN:
        teardown.client_fin = memo.client_fin
    if memo.past & Past.SERVER_FIN:
        teardown.server_fin = memo.server_fin
    return teardown


def _state(memo: Memo, flow: AdoptedFlow) -> Adopt:
    if memo.past & Past.OVER or flow.teardown.over:
        return Adopt.CLOSED
    return Adopt.CLOSING if flow.teardown.begun else Adopt.SPLICED
