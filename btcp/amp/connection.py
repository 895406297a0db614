# SPDX-License-Identifier: MIT
"""
AMP with bounds: a connection that its other side cannot make grow.
"""

from __future__ import annotations

from collections import Counter, deque
from enum import Enum
from typing import Any, ClassVar

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime, ITCPTransport
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure
from zope.interface import implementer

from btcp.amp.boxes import TLS, BoxReader, serialize

LINGER = 1.0
"""Seconds a connection that we close may take to read our last word."""

MAX_UNREAD = 4 * 1024 * 1024
"""Octets that a peer may leave unread, beside those that the kernel holds."""

log = Logger()


class Stage(Enum):
    """
    What a connection is to us.
    """

    GREETING = "greeting"
    UP = "up"
    GONE = "gone"


@implementer(IPushProducer)
class Backlog:
    """
    What is to be written and the transport does not take, because the other side
    does not read.

    Kept here and not in the transport's own buffer, of which nobody can tell how
    much it holds.

    @ivar octets: how much it is.
    """

    def __init__(self, transport: Any) -> None:
        self.octets = 0
        self._transport = transport
        self._held: deque[bytes] = deque()
        self._full = False
        transport.registerProducer(self, True)

    def write(self, data: bytes) -> None:
        """
        Write C{data} after all that waits.
        """
        if self._full:
            self._held.append(data)
            self.octets += len(data)
        elif self._transport is not None:
            self._transport.write(data)

    def finish(self) -> None:
        """
        Leave it all to the transport, and close that.
        """
        transport = self._transport
        # A producer that is paused would keep it from closing.
        transport.unregisterProducer()
        transport.writeSequence(list(self._held))
        self.stopProducing()
        transport.loseConnection()

    def pauseProducing(self) -> None:
        """
        The transport's buffer is full.  Said again with every write to it.
        """
        self._full = True

    def resumeProducing(self) -> None:
        """
        The transport's buffer is empty.
        """
        self._full = False
        while self._held and not self._full:
            data = self._held.popleft()
            self.octets -= len(data)
            self._transport.write(data)

    def stopProducing(self) -> None:
        """
        The connection is lost, which the protocol hears by itself.
        """
        self._held.clear()
        self.octets = 0
        self._transport = None  # which may keep us


class BoundedAMP(amp.AMP):
    """
    An AMP connection that reads and writes within bounds, and whose end is said
    once and at once.

    @cvar channel: what its counters' names begin with.
    @ivar stage: it only moves forward.
    @ivar counters: one is moved for whatever the other side does wrong.
    @ivar lost: fires when the transport is gone too.
    """

    channel: ClassVar[str] = "control"
    transport: Any  # an ITransport, whose methods mypy cannot call

    def __init__(self, clock: IReactorTime, counters: Counter[str]) -> None:
        super().__init__()
        self.stage = Stage.GREETING
        self.clock = clock
        self.counters = counters
        self.lost: Deferred[None] = Deferred()
        self._reader = BoxReader()
        self._complained = False
        self._deadline: IDelayedCall | None = None

    def ended(self, why: str) -> None:
        """
        Override: nothing more will come.  Called once, as soon as that is known.
        """

    @property
    def address(self) -> str:
        """
        The other side's address, in words.
        """
        return str(getattr(self._transportPeer, "host", self._transportPeer))

    def makeConnection(self, transport: Any) -> None:
        """
        As in L{amp.AMP}, which also logs every connection of a stranger.
        """
        self._transportPeer = transport.getPeer()
        if ITCPTransport.providedBy(transport):
            transport.setTcpNoDelay(True)
        self._backlog = Backlog(transport)
        amp.BinaryBoxProtocol.makeConnection(self, transport)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # amp.AMP has no default either
        """
        The transport is gone.
        """
        self.limit(None)
        amp.BinaryBoxProtocol.connectionLost(self, reason)
        self.transport = None
        # What AMP is to itself: else only the garbage collector, which seldom runs, would
        # free what a connection held.
        self.boxReceiver = self.locator = self.boxSender = None
        self.lost.callback(None)

    def stopReceivingBoxes(self, reason: Failure) -> None:
        """
        As L{amp.BoxDispatcher}, but once only.
        """
        self._end(reason.getErrorMessage())

    def limit(self, seconds: float | None, why: str = "", counter: str = "") -> None:
        """
        Drop the connection after so many C{seconds} unless told otherwise.
        """
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        if seconds is not None:
            self._deadline = self.clock.callLater(seconds, self.drop, why, counter)

    def drop(self, why: str, counter: str) -> None:
        """
        End the connection now, unread answers and all.
        """
        if self.stage is not Stage.GONE:
            self.counters[counter] += 1
            self._warn(why)
            self._end(why)
        if self.transport is not None:
            self.transport.abortConnection()

    def close(self, why: str) -> None:
        """
        End the connection when the other side has read what was written.
        """
        if self.stage is Stage.GONE:
            return
        self._end(why)
        self.limit(LINGER)
        self._backlog.finish()

    def complain(self, why: str, counter: str) -> None:
        """
        Count what the other side did; write it down the first time.
        """
        self.counters[counter] += 1
        if not self._complained:
            self._complained = True
            self._warn(why)

    def _warn(self, why: str) -> None:
        text = "{channel} connection of {address}: {why}"
        log.warn(text, channel=self.channel, address=self.address, why=why)

    def _end(self, why: str) -> None:
        if self.stage is Stage.GONE:
            return
        self.stage = Stage.GONE
        # Questions in flight are answered first, so that whoever asks again
        # elsewhere has done so before it hears that this peer is lost.
        self.failAllOutgoing(Failure(ConnectionLost(why)))
        self.ended(why)

    def dataReceived(self, data: bytes) -> None:
        """
        Read boxes; garbage ends the connection.
        """
        if self.stage is Stage.GONE:
            return
        for box in self._reader.receive(data):
            self.ampBoxReceived(box)
        fault = self._reader.fault
        if fault is not None:
            refused = fault == TLS and self.stage is Stage.GREETING
            kind = "refused-tls.insecure" if refused else "malformed"
            self.drop(fault, f"{self.channel}.{kind}")

    def sendBox(self, box: amp.AmpBox) -> None:
        """
        @raise ConnectionLost: if the connection is gone.
        """
        if self.transport is None:
            raise ConnectionLost()
        self._backlog.write(serialize(box))
        if self._backlog.octets > MAX_UNREAD and self.stage is not Stage.GONE:
            # Later, for whoever writes is in the middle of something.
            self.clock.callLater(0, self._unread)

    def _unread(self) -> None:
        self.drop("does not read what we write", f"{self.channel}.unread")

    def ampBoxReceived(self, box: amp.AmpBox) -> None:
        """
        A question or an answer.
        """
        if self.stage is Stage.GONE:
            return
        if amp.COMMAND in box and amp.ASK in box:
            self.asked(box[amp.ASK], box[amp.COMMAND], box)
        elif self._is_answer(box):
            super().ampBoxReceived(box)
        else:
            why = "neither a question nor an answer to one of ours"
            self.drop(why, f"{self.channel}.malformed")

    def _is_answer(self, box: amp.AmpBox) -> bool:
        """
        Whether L{amp.BoxDispatcher} can make sense of C{box}; it takes that for
        granted.
        """
        if amp.ANSWER in box:
            return box[amp.ANSWER] in self._outstandingRequests
        complete = amp.ERROR_CODE in box and amp.ERROR_DESCRIPTION in box
        return complete and box.get(amp.ERROR) in self._outstandingRequests

    def asked(self, tag: bytes, name: bytes, box: amp.AmpBox) -> None:
        """
        Override: the question C{name}, to be answered with L{answer} or L{error}.

        Not by AMP's own look-up: that would offer a peer StartTLS as well, and
        whatever is called C{amp_*}.
        """
        raise NotImplementedError

    def answer(self, tag: bytes, box: amp.AmpBox) -> None:
        """
        Answer the question C{tag}, if anybody still waits for it.
        """
        if self.stage is not Stage.GONE:
            box[amp.ANSWER] = tag
            self.sendBox(box)

    def error(self, tag: bytes, code: bytes, description: str) -> None:
        """
        Answer the question C{tag} with an error, if anybody still waits for it.
        """
        if self.stage is not Stage.GONE:
            box = amp.AmpBox()
            box[amp.ERROR] = tag
            box[amp.ERROR_CODE] = code
            box[amp.ERROR_DESCRIPTION] = description.encode()
            self.sendBox(box)
