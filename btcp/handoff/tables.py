# SPDX-License-Identifier: MIT
"""
The flow tables and their indexes.
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
    Replace the names of actions in a state table by bound methods.

    @param machine: the object with a method for each action, named with a leading underscore.
    @return: the table with methods in place of names.
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
    The table of flows of which this node is the front-end.

    @ivar by_key: flows by the key of the client's packets.
    @ivar by_number: flows by the number of their handoff.
    @ivar half_open: the number of flows in SYN-RECEIVED.
    @ivar held: the number of flows that each node has or was sent a handoff of.
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
        Add a flow.
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
        Set the node that has the flow or was sent its handoff; L{None} for none.
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
        List the flows that a node has or was sent a handoff of.
        """
        return list(self._by_node.get(node, {}).values())

    def remove(self, flow: AcceptedFlow) -> None:
        """
        Remove a flow.
        """
        self.give(flow, None)
        self.by_number.pop(flow.number, None)
        if self.by_key.get(flow.key) is flow:
            del self.by_key[flow.key]


class AdoptedFlows:
    """
    The table of flows of which this node is the back-end.

    @ivar inbound: flows by the key of packets to the local TCP, without those whose front-end is
        this node: the L{Acceptor<btcp.handoff.accept.Acceptor>} receives their packets.
    @ivar outbound: flows by the key of packets from the local TCP.
    @ivar by_order: flows by front-end and number of the handoff.
    @ivar graves: aborted flows by the key of packets from the local TCP, which are dropped for a
        while.
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
        Add a flow.
        """
        self.outbound[flow.outbound] = flow
        if flow.peer != self._node:
            self.inbound[flow.inbound] = flow
        self.by_order[flow.peer, flow.order.id] = flow
        self._by_peer.setdefault(flow.peer, {})[flow.order.id] = flow

    def rename(self, flow: AdoptedFlow, order: Handoff) -> None:
        """
        Change the number of a flow's handoff.

        @param order: the front-end's new handoff of the same connection.
        """
        del self.by_order[flow.peer, flow.order.id]
        del self._by_peer[flow.peer][flow.order.id]
        flow.order = order
        self.by_order[flow.peer, order.id] = flow
        self._by_peer[flow.peer][order.id] = flow

    def of(self, peer: str) -> list[AdoptedFlow]:
        """
        List the flows of which a node is the front-end.
        """
        return list(self._by_peer.get(peer, {}).values())

    def remove(self, flow: AdoptedFlow) -> list[bytes]:
        """
        Remove a flow.

        @return: the keys by which it was found.
        """
        self.by_order.pop((flow.peer, flow.order.id), None)
        self._by_peer.get(flow.peer, {}).pop(flow.order.id, None)
        keys = []
        for table, key in ((self.outbound, flow.outbound), (self.inbound, flow.inbound)):
            if table.get(key) is flow:
                del table[key]
                keys.append(key)
        return keys
