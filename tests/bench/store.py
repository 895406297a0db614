# SPDX-License-Identifier: MIT
"""
A slow store: one reading head, which takes its time for each object and reads one at a time.

Run on a node; C{/store/delay/N} makes a read take N milliseconds, C{/store/reads} tells how many
there were.
"""

from __future__ import annotations

from twisted.internet import reactor, task
from twisted.internet.defer import Deferred, DeferredLock, succeed
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.interfaces import IReactorTCP, IReactorTime
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

PORT = 8090
SIZE = 8192


class Store(Resource):
    """
    @ivar delay: seconds for a read.
    @ivar reads: how many there were.
    """

    isLeaf = True

    def __init__(self, clock: IReactorTime) -> None:
        super().__init__()
        self._clock = clock
        self._head = DeferredLock()
        self.delay = 0.0
        self.reads = 0

    def render_GET(self, request: Request) -> bytes | int:
        """
        See L{Resource.render}.
        """
        path = request.path or b""
        if path.startswith(b"/store/"):
            return self._managed(path.split(b"/")[2:])
        gone = request.notifyFinish()
        gone.addErrback(lambda _: None)
        reading = self._head.run(self._read)
        reading.addCallback(lambda _: self._answer(request, path))
        return NOT_DONE_YET

    def _managed(self, words: list[bytes]) -> bytes:
        if words[0] == b"delay":
            self.delay = int(words[1]) / 1000
        return b"%d\n" % self.reads

    def _read(self) -> Deferred[None]:
        self.reads += 1
        if not self.delay:
            return succeed(None)
        return task.deferLater(self._clock, self.delay)

    def _answer(self, request: Request, path: bytes) -> None:
        if not request._disconnected:
            request.setHeader(b"content-type", b"application/octet-stream")
            request.write((path * SIZE)[:SIZE])
            request.finish()


if __name__ == "__main__":
    assert IReactorTCP.providedBy(reactor) and IReactorTime.providedBy(reactor)
    TCP4ServerEndpoint(reactor, PORT, interface="127.0.0.1").listen(Site(Store(reactor)))
    reactor.run()
