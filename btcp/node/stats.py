# SPDX-License-Identifier: MIT
"""
Statistics of a node for the management interface.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from btcp.cluster.membership import Membership
from btcp.control.peers import Peers
from btcp.datapath.interface import Datapath
from btcp.handoff.bottom import BottomTcp


class NodeStats:
    """
    Answers of C{show stats}, C{show peers} and C{show nodes}.
    """

    def __init__(
        self,
        node: str,
        core: BottomTcp,
        datapath: Datapath,
        peers: Peers,
        membership: Membership,
        held: Callable[[], tuple[int, int]],
    ) -> None:
        """
        @param node: the node's name.
        @param held: returns the numbers of offloaded connections, as front-end and as back-end.
        """
        self._node = node
        self._core = core
        self._datapath = datapath
        self._peers = peers
        self._membership = membership
        self._held = held
        self._cleared: Counter[str] = Counter()

    def show(self, what: str) -> Any:
        """
        Compose the answer to a C{show} command.

        @param what: C{"stats"}, C{"peers"} or C{"nodes"}.
        @return: JSON values.
        @raise KeyError: for anything else.
        """
        return {"stats": self._stats, "peers": self._links, "nodes": self._nodes}[what]()

    def clear_counters(self) -> int:
        """
        Show all counters from zero from now on.  The counters themselves are not reset, because
        other parts compute differences of them.

        @return: the number of counters that had changed since they were last cleared.
        """
        before, self._cleared = self._cleared, Counter(self._counted())
        return len(self._cleared - before)

    def _nodes(self) -> object:
        return {"nodes": self._membership.show()}

    def _links(self) -> object:
        states = self._peers.states().items()
        return {"peers": [{"node": node, **state} for node, state in states]}

    def _stats(self) -> object:
        counted = self._counted() - self._cleared
        fronts, backs = self._held()
        fronts += len(self._core.acceptor.flows)
        backs += len(self._core.adopter.flows)
        return {
            "node": self._node,
            "flows": {"front": fronts, "back": backs},
            "counters": dict(sorted(counted.items())),
        }

    def _counted(self) -> Counter[str]:
        self._datapath.refresh()
        return self._core.counters
