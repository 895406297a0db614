# SPDX-License-Identifier: MIT
"""
An AMP connection whose buffers are bounded, whatever the peer does.
"""

from __future__ import annotations

from collections import Counter, deque
from enum import Enum
from typing import Any, ClassVar

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime, ITCPTransport
from twisted.protocols import amp
from twisted.python.failure import Failure
from zope.interface import implementer

from btcp.amp.boxes import TLS, BoxReader, serialize
from btcp.amp.warnings import Warnings

LINGER = 1.0
"""Seconds that the peer has to read the last octets of a connection that this side closes."""

MAX_UNREAD = 4 * 1024 * 1024
"""Maximum octets queued for a peer that does not read, beyond the kernel's buffers."""


class Stage(Enum):
    """
    The state of a connection.  It only moves forward.

    C{GREETING}: connected, not yet usable for commands.  C{UP}: usable.  C{GONE}: ended.
    """

    GREETING = "greeting"
    UP = "up"
    GONE = "gone"


@implementer(IPushProducer)
class Backlog:
    """
    The queue of octets that the transport does not accept because the peer does not read.

    They are queued here rather than in the transport, whose buffer has no public size.

    @ivar octets: the number of octets in the queue.
    """

    def __init__(self, transport: Any) -> None:
        self.octets = 0
        self._transport = transport
        self._held: deque[bytes] = deque()
        self._full = False
        transport.registerProducer(self, True)

    def write(self, data: bytes) -> None:
        """
        Write C{data}, after everything that is queued.
        """
        if self._full:
            self._held.append(data)
            self.octets += len(data)
        elif self._transport is not None:
            self._transport.write(data)

    def finish(self) -> None:
        """
        Pass the whole queue to the transport and close that when it has written everything.
        """
        transport = self._transport
        # A paused producer would keep the transport from closing.
        transport.unregisterProducer()
        transport.writeSequence(list(self._held))
        self.stopProducing()
        transport.loseConnection()

    def pauseProducing(self) -> None:
        """
        Stop writing: the transport's buffer is full.  Called again at every further write.
        """
        self._full = True

    def resumeProducing(self) -> None:
        """
        Write from the queue: the transport's buffer is empty.
        """
        self._full = False
        while self._held and not self._full:
            data = self._held.popleft()
            self.octets -= len(data)
            self._transport.write(data)

    def stopProducing(self) -> None:
        """
        Discard the queue: the connection is lost, of which the transport notifies the protocol.
        """
        self._held.clear()
        self.octets = 0
        self._transport = None  # breaks a reference cycle


class BoundedAMP(amp.AMP):
    """
    An AMP connection with bounded buffers, which reports its end once and as soon as it is known.

    @cvar channel: the prefix of its counters.
    @ivar stage: the state of the connection.
    @ivar counters: incremented for each violation of the protocol by the peer.
    @ivar lost: fires with C{None} when the transport is closed.
    """

    channel: ClassVar[str] = "control"
    transport: Any  # an ITransport, whose methods mypy cannot call

    def __init__(
        self, clock: IReactorTime, counters: Counter[str], warnings: Warnings | None = None
    ) -> None:
        """
        @param warnings: shared with other connections, so that many of them warn no more than one.
        """
        super().__init__()
        self._warnings = warnings or Warnings(clock)
        self.stage = Stage.GREETING
        self.clock = clock
        self.counters = counters
        self.lost: Deferred[None] = Deferred()
        self._reader = BoxReader()
        self._complained = False
        self._deadline: IDelayedCall | None = None

    def ended(self, why: str) -> None:
        """
        Process the end of the connection.  To be overridden.  Called once, maybe before the
        transport is closed.

        @param why: the reason, as text.
        """

    @property
    def address(self) -> str:
        """
        The peer's address as text.
        """
        return str(getattr(self._transportPeer, "host", self._transportPeer))

    def makeConnection(self, transport: Any) -> None:
        """
        Start the connection.  Overrides L{amp.AMP}'s method, which would log every connection,
        also of peers that are not authenticated.
        """
        self._transportPeer = transport.getPeer()
        if ITCPTransport.providedBy(transport):
            transport.setTcpNoDelay(True)
        self._backlog = Backlog(transport)
        amp.BinaryBoxProtocol.makeConnection(self, transport)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # amp.AMP has no default either
        """
        Process the close of the transport.
        """
        self.limit(None)
        amp.BinaryBoxProtocol.connectionLost(self, reason)
        self.transport = None
        # Break AMP's reference cycles with itself, so that the connection is freed at once and
        # not by the next run of the garbage collector.
        self.boxReceiver = self.locator = self.boxSender = None
        self.lost.callback(None)

    def stopReceivingBoxes(self, reason: Failure) -> None:
        """
        Process the end of the stream.  Overrides L{amp.BoxDispatcher}'s method, which would fail
        commands again that have already failed.
        """
        self._end(reason.getErrorMessage())

    def limit(self, seconds: float | None, why: str = "", counter: str = "") -> None:
        """
        Set a deadline, in place of the last one, after which the connection is dropped.

        @param seconds: from now; L{None} for no deadline.
        @param why: the reason that L{drop} reports.
        @param counter: the counter that L{drop} increments.
        """
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        if seconds is not None:
            self._deadline = self.clock.callLater(seconds, self.drop, why, counter)

    def drop(self, why: str, counter: str) -> None:
        """
        Abort the connection now; queued octets are lost.

        @param why: the reason, which is logged as a warning.
        @param counter: the counter to increment.
        """
        if self.stage is not Stage.GONE:
            self.counters[counter] += 1
            self._warn(why, counter)
            self._end(why)
        if self.transport is not None:
            self.transport.abortConnection()

    def close(self, why: str) -> None:
        """
        Close the connection after the peer has read everything, or after L{LINGER} seconds.
        """
        if self.stage is Stage.GONE:
            return
        self._end(why)
        self.limit(LINGER)
        self._backlog.finish()

    def complain(self, why: str, counter: str) -> None:
        """
        Count a violation by the peer; the first one of the connection is logged.
        """
        self.counters[counter] += 1
        if not self._complained:
            self._complained = True
            self._warn(why, counter)

    def _warn(self, why: str, counter: str) -> None:
        text = "{channel} connection of {address}: {why}"
        self._warnings(counter, text, channel=self.channel, address=self.address, why=why)

    def _end(self, why: str) -> None:
        if self.stage is Stage.GONE:
            return
        self.stage = Stage.GONE
        # Outstanding commands fail first, so that their callers have tried other peers before
        # they learn that this peer is lost.
        self.failAllOutgoing(Failure(ConnectionLost(why)))
        self.ended(why)

    def dataReceived(self, data: bytes) -> None:
        """
        Parse boxes; invalid octets drop the connection.
        """
        if self.stage is Stage.GONE:
            return
        self.boxes_received(self._reader.receive(data))
        fault = self._reader.fault
        if fault is not None:
            refused = fault == TLS and self.stage is Stage.GREETING
            kind = "refused-tls.insecure" if refused else "malformed"
            self.drop(fault, f"{self.channel}.{kind}")

    def boxes_received(self, boxes: list[amp.AmpBox]) -> None:
        """
        Process the boxes that came at once, in order.
        """
        for box in boxes:
            self.ampBoxReceived(box)

    def sendBox(self, box: amp.AmpBox) -> None:
        """
        @raise ConnectionLost: if the connection is gone.
        """
        if self.transport is None:
            raise ConnectionLost()
        self._backlog.write(serialize(box))
        if self._backlog.octets > MAX_UNREAD and self.stage is not Stage.GONE:
            # In a later turn of the reactor: the caller may be iterating over connections.
            self.clock.callLater(0, self._unread)

    def _unread(self) -> None:
        self.drop(f"does not read; {MAX_UNREAD} octets are queued", f"{self.channel}.unread")

    def ampBoxReceived(self, box: amp.AmpBox) -> None:
        """
        Dispatch a command to L{asked}, or an answer to the command that waits for it.
        """
        if self.stage is Stage.GONE:
            return
        if amp.COMMAND in box and amp.ASK in box:
            self.asked(box[amp.ASK], box[amp.COMMAND], box)
        elif self._is_answer(box):
            super().ampBoxReceived(box)
        else:
            why = "sent neither a command nor an answer to one"
            self.drop(why, f"{self.channel}.malformed")

    def _is_answer(self, box: amp.AmpBox) -> bool:
        """
        Check that C{box} answers an outstanding command, which L{amp.BoxDispatcher} assumes.
        """
        if amp.ANSWER in box:
            return box[amp.ANSWER] in self._outstandingRequests
        complete = amp.ERROR_CODE in box and amp.ERROR_DESCRIPTION in box
        return complete and box.get(amp.ERROR) in self._outstandingRequests

    def asked(self, tag: bytes, name: bytes, box: amp.AmpBox) -> None:
        """
        Process the command C{name}, which L{answer} or L{error} has to answer.  To be overridden.

        AMP's own look-up of responders is not used: it would also offer StartTLS, and every
        method named C{amp_*}.

        @param tag: identifies the command in the answer.
        @param box: the command's arguments.
        """
        raise NotImplementedError

    def answer(self, tag: bytes, box: amp.AmpBox) -> None:
        """
        Answer the command C{tag}; ignored if the connection has ended.
        """
        if self.stage is not Stage.GONE:
            box[amp.ANSWER] = tag
            self.sendBox(box)

    def error(self, tag: bytes, code: bytes, description: str) -> None:
        """
        Answer the command C{tag} with an error; ignored if the connection has ended.
        """
        if self.stage is not Stage.GONE:
            box = amp.AmpBox()
            box[amp.ERROR] = tag
            box[amp.ERROR_CODE] = code
            box[amp.ERROR_DESCRIPTION] = description.encode()
            self.sendBox(box)
