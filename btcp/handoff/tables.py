# SPDX-License-Identifier: MIT
"""
The flow tables: who is found by what.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from btcp.handoff.flows import AcceptedFlow, AdoptedFlow
from btcp.handoff.messages import Handoff
from btcp.handoff.states import Accept

S = TypeVar("S")
E = TypeVar("E")


def bound(
    table: Mapping[S, Mapping[E, tuple[S, str]]], machine: object
) -> dict[S, dict[E, tuple[S, Callable[[Any, Any], None]]]]:
    """
    @param machine: has a method for each of the table's actions, its name with an
        underscore before it.
    @return: the table with methods for names.
    """
    return {
        state: {
            event: (following, getattr(machine, f"_{action}"))
            for event, (following, action) in events.items()
        }
        for state, events in table.items()
    }


class AcceptedFlows:
    """
    All flows of which this node is the front-end.

    @ivar by_key: by the key of the client's packets.
    @ivar by_number: by the number that messages name them with.
    @ivar half_open: how many are in SYN-RECEIVED.
    @ivar held: how many each node has, or is asked to take; it may say 0.
    """

    def __init__(self) -> None:
        self.by_key: dict[bytes, AcceptedFlow] = {}
        self.by_number: dict[int, AcceptedFlow] = {}
        self.half_open = 0
        self.held: Counter[str] = Counter()
        self._by_node: dict[str, dict[int, AcceptedFlow]] = {}

    def __len__(self) -> int:
        return len(self.by_key)

    def add(self, flow: AcceptedFlow) -> None:
        """
        Take a new flow in.
        """
        self.by_key[flow.key] = flow
        self.by_number[flow.number] = flow
        self.half_open += flow.state is Accept.SYN_RECEIVED

    def move(self, flow: AcceptedFlow, state: Accept) -> None:
        """
        Change a flow's state.
        """
        self.half_open += (state is Accept.SYN_RECEIVED) - (flow.state is Accept.SYN_RECEIVED)
        flow.state = state

    def give(self, flow: AcceptedFlow, node: str | None) -> None:
        """
        Change the node that has the flow, or is asked to take it.
        """
        if flow.node is not None:
            self._by_node[flow.node].pop(flow.number, None)
            self.held[flow.node] -= 1
        flow.node = node
        if node is not None:
            self._by_node.setdefault(node, {})[flow.number] = flow
            self.held[node] += 1

    def at(self, node: str) -> list[AcceptedFlow]:
        """
        @return: the flows that the node has, or is asked to take.
        """
        return list(self._by_node.get(node, {}).values())

    def remove(self, flow: AcceptedFlow) -> None:
        """
        Forget a flow.
        """
        self.give(flow, None)
        self.by_number.pop(flow.number, None)
        if self.by_key.get(flow.key) is flow:
            del self.by_key[flow.key]


class AdoptedFlows:
    """
    All flows of which this node is the back-end.

    @ivar inbound: flows by the key of packets to the local TCP; those whose
        front-end is this very node are not in it, their packets come by way of
        the L{Acceptor<btcp.handoff.accept.Acceptor>}.
    @ivar outbound: flows by the key of the local TCP's packets.
    @ivar by_order: by front-end and its number for the flow.
    @ivar graves: flows that are no more, by the key of what the local TCP may still
        have said of them.
    """

    def __init__(self, node: str) -> None:
        """
        @param node: this node's name.
        """
        self._node = node
        self.inbound: dict[bytes, AdoptedFlow] = {}
        self.outbound: dict[bytes, AdoptedFlow] = {}
        self.by_order: dict[tuple[str, int], AdoptedFlow] = {}
        self.graves: dict[bytes, AdoptedFlow] = {}
        self._by_peer: dict[str, dict[int, AdoptedFlow]] = {}

    def __len__(self) -> int:
        return len(self.outbound)

    def add(self, flow: AdoptedFlow) -> None:
        """
        Take a new flow in.
        """
        self.outbound[flow.outbound] = flow
        if flow.peer != self._node:
            self.inbound[flow.inbound] = flow
        self.by_order[flow.peer, flow.order.id] = flow
        self._by_peer.setdefault(flow.peer, {})[flow.order.id] = flow

    def rename(self, flow: AdoptedFlow, order: Handoff) -> None:
        """
        The front-end calls a flow by another number now.

        @param order: has the number; it is about the same connection.
        """
        del self.by_order[flow.peer, flow.order.id]
        del self._by_peer[flow.peer][flow.order.id]
        flow.order = order
        self.by_order[flow.peer, order.id] = flow
        self._by_peer[flow.peer][order.id] = flow

    def of(self, peer: str) -> list[AdoptedFlow]:
        """
        @return: the flows of which the peer is the front-end.
        """
        return list(self._by_peer.get(peer, {}).values())

    def remove(self, flow: AdoptedFlow) -> list[bytes]:
        """
        Forget a flow.

        @return: the keys that no longer lead to it.
        """
        self.by_order.pop((flow.peer, flow.order.id), None)
        self._by_peer.get(flow.peer, {}).pop(flow.order.id, None)
        keys = []
        for table, key in ((self.outbound, flow.outbound), (self.inbound, flow.inbound)):
            if table.get(key) is flow:
                del table[key]
                keys.append(key)
        return keys
