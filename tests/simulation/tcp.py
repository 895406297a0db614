# SPDX-License-Identifier: MIT
"""
A TCP (RFC 9293, 7323, 2018, 2883, 5961) that is honest and strict: it does what a
kernel does, and complains of what a kernel would silently put up with.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from random import Random
from typing import Protocol

from attrs import frozen

from btcp.handoff.messages import Handoff
from btcp.wire.build import compose
from btcp.wire.options import SynOptions, timestamps
from btcp.wire.segment import ACK, FIN, PSH, RST, SYN, Segment
from btcp.wire.seqnum import add, at_or_before, before, distance
from tests.simulation.clock import Call, Clock
from tests.simulation.streams import Incoming, Outgoing, read_sack, sack_option, timestamps_option

RTO = 0.2
MAX_RTO = 3.0
SYN_RTO = 1.0
GIVE_UP = 15
"""Retransmissions in a row until a connection is taken for dead."""
TIME_WAIT = 60.0
DELAYED_ACK = 0.04
_CWND = 10


class State(StrEnum):
    """
    The states of RFC 9293 that are told apart here; which side closed is seen
    from the streams.
    """

    SYN_SENT = "SYN-SENT"
    SYN_RECEIVED = "SYN-RECEIVED"
    OPEN = "open"
    TIME_WAIT = "TIME-WAIT"
    CLOSED = "CLOSED"


@frozen(kw_only=True)
class Abilities:
    """
    What a host's TCP offers and how it likes to write.

    @ivar scale: C{-1} to offer none.
    @ivar window: octets it is ready to take.
    @ivar delayed: acknowledge every other segment only.
    @ivar odd: put options at odd places.
    @ivar batch: segments to a super-packet.
    """

    mss: int = 1460
    scale: int = 7
    sack: bool = True
    timestamps: bool = True
    window: int = 65_535
    delayed: bool = False
    odd: bool = False
    batch: int = 1


class Host(Protocol):
    """
    What a connection needs of the host it lives in.

    @ivar tolerated: octets that a peer may take back of the window it promised.
    """

    clock: Clock
    random: Random
    tolerated: int

    def output(self, segment: Segment) -> None:
        """
        Send a packet.
        """

    def complain(self, what: str) -> None:
        """
        A peer broke a rule.
        """

    def remove(self, connection: Connection) -> None:
        """
        The connection is no more.
        """


class Connection:
    """
    One end of a connection.

    @ivar key: of the packets that it sends.
    @ivar changed: called when something happened to it.
    @ivar opened: by us, actively.
    @ivar was_reset: the peer reset it.
    @ivar timed_out: the peer did not answer.
    @ivar fed_at: when the last data came.
    """

    def __init__(
        self, host: Host, key: bytes, can: Abilities, iss: int, changed: Callable[[], None]
    ) -> None:
        self.host, self.key, self.can, self.iss = host, key, can, iss
        self.mss = min(can.mss, 1460 if len(key) == 12 else 1440)  # Ethernet's
        self.changed = changed
        self.state = State.CLOSED
        self.was_reset = self.timed_out = self.opened = False
        self.out, self.into = Outgoing(), Incoming()
        self.irs = 0
        self.fed_at = 0.0
        self.stamps, self.sack = can.timestamps, can.sack
        self.scale, self.peer_scale, self.peer_mss = can.scale, 0, 536
        self.ts_offset = host.random.getrandbits(32)
        self.ts_recent = 0
        self._first_tsval = self.tsval()
        self._last_ack_sent = 0
        self._edge = 0  # of our window, in octets of the incoming stream
        self._newest = (0, 0)  # SND.WL2, SND.WL1, as stream positions
        self._promised = 0  # the edge of the peer's window then
        self._cwnd = _CWND * 536
        self._recover = 0
        self._duplicates = 0
        self._tries = 0
        self._owed = 0
        self._timer: Call | None = None
        self._ack_timer: Call | None = None
        self._active = False

    # -- what a program does --------------------------------------------------

    def connect(self) -> None:
        """
        Open actively.
        """
        self.state, self.opened = State.SYN_SENT, True
        self._send_syn()

    def accept(self, syn: Segment) -> None:
        """
        Open passively.
        """
        self.state = State.SYN_RECEIVED
        self._agree(syn)
        self._send_syn()

    def admit(self, order: Handoff) -> None:
        """
        Be open, with what was agreed in a handshake that another TCP did; what is
        next to come is the client's first data.
        """
        self.state = State.OPEN
        self.irs = order.irs
        self.sack, self.stamps = order.sack, order.front_tsval >= 0
        self.scale, self.peer_scale = order.front_scale, max(order.client_scale, 0)
        self.peer_mss = order.mss
        self.ts_recent = max(order.tsval, 0)
        self.ts_offset += order.front_tsval - self.tsval()
        self._first_tsval = self.tsval()
        self._last_ack_sent = self._rcv_next
        self._edge = self.can.window
        self._cwnd = _CWND * order.mss

    def send(self, data: bytes) -> None:
        """
        Have data sent.
        """
        self.out.octets += data
        self._output()

    def close(self) -> None:
        """
        Send no more; go on receiving.
        """
        self.out.closed = True
        self._output()

    def probe(self) -> None:
        """
        Ask whether the peer is still there (RFC 9293, 3.8.4).
        """
        self._transmit(self.out.acked - 1, ACK)

    def abort(self) -> None:
        """
        Reset.
        """
        if self.state is State.CLOSED:
            return
        flags = RST | ACK if self.host.random.random() < 0.5 else RST
        ack = self._rcv_next if flags & ACK else 0
        self._transmit(self.out.next, flags, ack=ack)
        self._end()

    @property
    def received(self) -> bytes:
        """
        All that came, in order.
        """
        return bytes(self.into.octets)

    @property
    def finished(self) -> bool:
        """
        The peer will send no more.
        """
        return self.into.closed

    # -- numbers --------------------------------------------------------------

    @property
    def _rcv_next(self) -> int:
        return add(self.irs, 1 + self.into.next)

    def _seq(self, position: int) -> int:
        return add(self.iss, 1 + position)

    def tsval(self) -> int:
        """
        @return: the time as this connection's segments tell it.
        """
        return (int(self.host.clock.now * 1000) + self.ts_offset) & 0xFFFFFFFF

    # -- sending --------------------------------------------------------------

    def _send_syn(self) -> None:
        passive = self.state is State.SYN_RECEIVED
        tsecr = self.ts_recent if passive else 0
        options = SynOptions(
            self.mss, self.scale, self.sack, self.tsval() if self.stamps else -1, tsecr
        ).pack()
        window = min(self.can.window, 65_535)
        self._edge = max(self._edge, window)
        flags, ack = (SYN | ACK, add(self.irs, 1)) if passive else (SYN, 0)
        self.host.output(compose(self.key, self.iss, ack, flags, window, options))
        self._restart_timer(SYN_RTO * 2**self._tries)

    def _transmit(
        self, position: int, flags: int, data: bytes = b"", *, ack: int | None = None
    ) -> None:
        options = b""
        if self.stamps and not flags & RST:
            options = timestamps_option(self.tsval(), self.ts_recent, self.can.odd)
        if self.sack and flags & ACK and not flags & RST and not data:
            blocks = self.into.blocks(3 if self.stamps else 4)
            base = add(self.irs, 1)
            edges = [(add(base, start), add(base, end)) for start, end in blocks]
            options += sack_option(edges, self.can.odd)
        if flags & ACK and ack is None:
            ack = self._rcv_next
            self._last_ack_sent = ack
            self._owed = 0
        segment = compose(
            self.key, self._seq(position), ack or 0, flags, self._window(), options, data
        )
        if len(data) > self._size():
            segment.gso_size = self._size()
        self.host.output(segment)

    def _window(self) -> int:
        """
        @return: the window field; what was promised once is not taken back.
        """
        scale = max(self.scale, 0)
        left = max(self._edge - self.into.next, 0)
        window = min(max(self.can.window >> scale, -(-left >> scale)), 65_535)
        self._edge = max(self._edge, self.into.next + (window << scale))
        return window

    def _size(self) -> int:
        """
        @return: octets of data per segment.
        """
        return min(self.peer_mss, self.mss) - (12 if self.stamps else 0)

    def _output(self) -> None:
        if self.state is not State.OPEN:
            return
        out = self.out
        limit = min(out.limit, out.acked + self._cwnd)
        while (piece := out.piece(limit, self._size() * self.can.batch)) is not None:
            position, data, fin = piece
            last = position + len(data) == len(out.octets)
            self._transmit(position, ACK | PSH * last | FIN * fin, data)
            if fin and not self.into.closed:
                self._active = True
        if self._timer is None and (out.in_flight or out.waiting):
            self._restart_timer(RTO)

    def _acknowledge(self) -> None:
        if self.state in (State.OPEN, State.TIME_WAIT):
            self._transmit(self.out.next, ACK)

    def _acknowledge_soon(self) -> None:
        self._owed += 1
        if not self.can.delayed or self._owed > 1:
            self._acknowledge()
        elif self._ack_timer is None:
            self._ack_timer = self.host.clock.call_later(DELAYED_ACK, self._acknowledge_late)

    def _acknowledge_late(self) -> None:
        self._ack_timer = None
        if self._owed:
            self._acknowledge()

    # -- time -----------------------------------------------------------------

    def _restart_timer(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.host.clock.call_later(seconds, self._expire)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None

    def _expire(self) -> None:
        self._timer = None
        if self.state is State.TIME_WAIT:
            self._end()
            return
        self._tries += 1
        if self._tries > GIVE_UP:
            self.timed_out = True
            self._end()
            self.changed()
        elif self.state in (State.SYN_SENT, State.SYN_RECEIVED):
            self._send_syn()
        else:
            self._resend()

    def _resend(self) -> None:
        out = self.out
        if not out.in_flight and not out.waiting:
            return
        self._restart_timer(min(RTO * 2**self._tries, MAX_RTO))
        if not out.in_flight:  # the window is closed: one octet beyond it
            out.limit = max(out.limit, out.acked + 1)
        self._cwnd, self._recover = self._size(), out.highest
        out.go_back()
        self._output()

    # -- receiving ------------------------------------------------------------

    def receive(self, segment: Segment) -> None:
        """
        A packet for this connection.
        """
        if self.state is State.SYN_SENT:
            self._receive_unopened(segment)
        elif self.state is not State.CLOSED and self._believable(segment):
            self._take(segment)

    def _receive_unopened(self, segment: Segment) -> None:
        flags = segment.flags
        if flags & ACK and segment.ack != add(self.iss, 1):
            if not flags & RST:
                self.host.output(compose(self.key, segment.ack, 0, RST, 0))
        elif flags & RST:
            if flags & ACK:
                self._be_reset()
        elif flags & (SYN | ACK) == SYN | ACK:
            self._agree(segment)
            self._open(segment)
            self._acknowledge()
            self.changed()
            self._output()

    def _agree(self, segment: Segment) -> None:
        """
        Read the peer's SYN or SYN/ACK.
        """
        offered = SynOptions.read(segment)
        for name, mine, theirs in (
            ("window scale", self.scale >= 0, offered.scale >= 0),
            ("SACK", self.sack, offered.sack),
            ("timestamps", self.stamps, offered.tsval >= 0),
        ):
            if theirs and not mine and self.state is State.SYN_SENT:
                self.host.complain(f"the SYN/ACK has {name} that we did not offer")
        self.irs = segment.seq
        self.sack = self.sack and offered.sack
        self.stamps = self.stamps and offered.tsval >= 0
        self.scale, self.peer_scale = (
            (self.scale, offered.scale) if self.scale >= 0 and offered.scale >= 0 else (-1, 0)
        )
        self.peer_mss = offered.mss or 536
        self._cwnd = _CWND * self.peer_mss
        self.ts_recent = max(offered.tsval, 0)
        self._last_ack_sent = add(self.irs, 1)
        if segment.flags & ACK and self.stamps:
            self._check_echo(offered.tsecr)

    def _open(self, segment: Segment) -> None:
        scale = 0 if segment.flags & SYN else self.peer_scale
        self.state = State.OPEN
        self.out.limit = self._promised = segment.window << scale
        self._tries = 0
        self._stop_timer()

    def _believable(self, segment: Segment) -> bool:
        """
        RFC 7323, 5.3 and the first two checks of RFC 9293, 3.10.7.4.
        """
        flags = segment.flags
        fresh = self._fresh(segment)
        position = distance(add(self.irs, 1), segment.seq)
        start, length = position - self.into.next, segment.size + (flags & FIN)
        in_window = start < max(self.can.window, 1) and start + length >= 0
        if not fresh or not in_window:
            if not flags & RST and not (flags & SYN and self.state is State.SYN_RECEIVED):
                self._note_duplicate(segment, position)
                self._acknowledge()
            elif flags & SYN and not flags & RST:
                self._send_syn()
            return False
        if flags & RST:
            if start == 0:
                self._be_reset()
            else:
                self._acknowledge()
            return False
        if flags & SYN:
            self._acknowledge()
            return False
        return bool(flags & ACK)

    def _fresh(self, segment: Segment) -> bool:
        if not self.stamps or segment.flags & RST:
            return True
        stamps = timestamps(segment)
        if stamps is None:
            self.host.complain("a segment without timestamps")
            return True
        # The ACK of a replayed handshake may echo nothing, see Replay.
        if segment.flags & ACK and (stamps[1] or self.state is not State.SYN_RECEIVED):
            self._check_echo(stamps[1])
        if before(stamps[0], self.ts_recent):
            return False
        if at_or_before(segment.seq, self._last_ack_sent):
            self.ts_recent = stamps[0]
        return True

    def _check_echo(self, tsecr: int) -> None:
        # A connection that was handed to us may have begun elsewhere some time before.
        earlier = 0 if self.opened else 15_000
        first = add(self._first_tsval, -earlier)
        if not (at_or_before(first, tsecr) and at_or_before(tsecr, self.tsval())):
            self.host.complain(f"TSecr {tsecr} is no time of ours ({self.tsval()})")

    def _note_duplicate(self, segment: Segment, position: int) -> None:
        if segment.size:
            self.into.duplicate = (position, position + segment.size)

    def _take(self, segment: Segment) -> None:
        position = distance(add(self.irs, 1), segment.seq)
        if not self._take_ack(segment, position):
            return
        size, fin = segment.size, segment.flags & FIN
        if size:
            self.fed_at = self.host.clock.now
        if size > self.mss:
            self.host.complain(f"{size} octets, though the MSS is {self.mss}")
        if size or fin:
            in_order = self.into.add(position, bytes(segment.payload), bool(fin))
            if in_order and not fin:
                self._acknowledge_soon()
            else:
                self._acknowledge()
        self._finish()
        self._output()
        self.changed()

    def _take_ack(self, segment: Segment, position: int) -> bool:
        """
        @return: whether the segment may be looked at further.
        """
        acked = distance(add(self.iss, 1), segment.ack)
        if self.state is State.SYN_RECEIVED:
            if acked != 0:
                self.host.output(compose(self.key, segment.ack, 0, RST, 0))
                return False
            self._open(segment)
        out = self.out
        if acked > out.highest:
            self.host.complain(f"an ACK of {acked} octets, of {out.highest} that we sent")
            self._acknowledge()
            return False
        self._take_sack(segment)
        self._take_window(segment, acked, position)
        if acked > out.acked:
            self._advance(acked)
        elif acked == out.acked and out.in_flight and not segment.size:
            self._repeated_ack()
        return True

    def _advance(self, acked: int) -> None:
        out = self.out
        self._cwnd = min(self._cwnd + acked - out.acked, 1 << 18)
        out.acknowledge(acked)
        self._tries = self._duplicates = 0
        if out.in_flight and acked < self._recover:  # the next hole is lost as well
            self._resend_hole()
        if out.in_flight or out.waiting:
            self._restart_timer(RTO)
        else:
            self._stop_timer()

    def _repeated_ack(self) -> None:
        self._duplicates += 1
        if self._duplicates == 3 and self.out.acked >= self._recover:
            self._recover = self.out.highest
            self._cwnd = max(self._cwnd // 2, 2 * self._size())
            self._resend_hole()

    def _resend_hole(self) -> None:
        position, data, fin = self.out.hole(self._size())
        self._transmit(position, ACK | FIN * fin, data)

    def _take_sack(self, segment: Segment) -> None:
        out, base = self.out, add(self.iss, 1)
        edges = read_sack(segment)
        if edges and not self.sack:
            self.host.complain("SACK was not agreed")
        for index, (left, right) in enumerate(edges):
            start, end = distance(base, left), distance(base, right)
            doubled = index == 0 and end <= distance(base, segment.ack)
            if not 0 <= start < end <= out.highest:
                self.host.complain(f"SACK of {start}-{end}, of {out.highest} that we sent")
            elif not doubled:
                out.sacked.append((start, end))

    def _take_window(self, segment: Segment, acked: int, position: int) -> None:
        limit = acked + (segment.window << self.peer_scale)
        newest = self._newest
        if acked >= newest[0] and position >= newest[1]:
            if limit < self._promised - self.host.tolerated:
                self.host.complain(f"the window moved back by {self._promised - limit}")
            self._newest, self._promised = (acked, position), limit
        self.out.limit = max(self.out.limit, limit)

    def path_is_narrow(self, mtu: int) -> None:
        """
        A router cannot pass on packets that are larger (RFC 1191).
        """
        size = mtu - (40 if len(self.key) == 12 else 60)
        if size < self.peer_mss:
            self.peer_mss = size
            self.out.go_back()
            self._output()

    # -- the end --------------------------------------------------------------

    def replaceable_by(self, syn: Segment) -> bool:
        """
        @return: whether, in TIME-WAIT, the SYN opens a new connection (RFC 6191).
        """
        stamp = SynOptions.read(syn).tsval
        if self.stamps and stamp >= 0 and before(self.ts_recent, stamp):
            return True
        return before(self._rcv_next, syn.seq)

    def _finish(self) -> None:
        if not self.out.finished or not self.into.closed:
            return
        if self._active:
            self.state = State.TIME_WAIT
            self._restart_timer(TIME_WAIT)
        else:
            self._end()

    def _be_reset(self) -> None:
        self.was_reset = True
        self._end()
        self.changed()

    def _end(self) -> None:
        self.state = State.CLOSED
        self._stop_timer()
        if self._ack_timer is not None:
            self._ack_timer.cancel()
        self.host.remove(self)
