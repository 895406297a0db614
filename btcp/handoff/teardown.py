# SPDX-License-Identifier: MIT
"""
Detection of the end of a connection at the back-end, which sees both directions.
"""

from __future__ import annotations

from btcp.handoff.route import Route
from btcp.wire.segment import ACK, FIN, Segment
from btcp.wire.seqnum import at_or_before


class Teardown:
    """
    The progress of the close: both FINs and their acknowledgments, in the local TCP's numbers.

    @ivar client_fin: the sequence number after the client's FIN; C{None} before it.
    @ivar server_fin: the sequence number after the local TCP's FIN; C{None} before it.
    """

    __slots__ = ("_client_acked", "_server_acked", "client_fin", "server_fin")

    def __init__(self) -> None:
        self.client_fin: int | None = None
        self.server_fin: int | None = None
        self._client_acked = False
        self._server_acked = False

    @property
    def begun(self) -> bool:
        """
        C{True} once a FIN was seen.
        """
        return self.client_fin is not None or self.server_fin is not None

    @property
    def over(self) -> bool:
        """
        C{True} once both FINs were seen and acknowledged.
        """
        return self._client_acked and self._server_acked

    def merge(self, to_client: Route, to_server: Route) -> None:
        """
        Merge the FINs and acknowledgments that the datapath has recorded in the flow entries.  It
        records none for flows whose packets to the server are rewritten on this node.
        """
        if to_server.fin is not None:
            self.client_fin = to_server.fin
        if to_client.fin is not None:
            self.server_fin = to_client.fin
        self._server_acked |= to_server.fin_acked
        self._client_acked |= to_client.fin_acked
        # The acknowledgment may have been seen before the FIN was known.
        if self.client_fin is not None:
            self._client_acked |= at_or_before(self.client_fin, to_client.ack)
        if self.server_fin is not None and to_server.rewriter is None:
            self._server_acked |= to_server.ack == self.server_fin

    def from_client(self, segment: Segment) -> None:
        """
        Process a packet of the client.

        @param segment: the packet as delivered to the local TCP.
        """
        if segment.flags & FIN and self.client_fin is None:
            self.client_fin = segment.next
        if self.server_fin is not None and segment.flags & ACK:
            # An acknowledgment of more than the FIN cannot be the client's.
            self._server_acked |= segment.ack == self.server_fin

    def from_server(self, segment: Segment) -> None:
        """
        Process a packet of the local TCP.

        @param segment: the packet as the local TCP sent it.
        """
        if segment.flags & FIN:
            self.server_fin = segment.next
        if self.client_fin is not None and segment.flags & ACK:
            self._client_acked |= at_or_before(self.client_fin, segment.ack)
