# SPDX-License-Identifier: MIT
"""
A browser and a server program that know what the other has to say.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random

from attrs import define, field, frozen

from tests.simulation.tcp import Connection

_END = b"\r\n\r\n"


def octets(count: int, seed: int) -> bytes:
    """
    @return: the body of that many octets; each octet depends on where it is.
    """
    return Random(seed).randbytes(count)


@frozen(kw_only=True)
class Request:
    """
    @ivar path: where the content is, such as C{/b/}.
    @ivar response: octets of the response's body.
    @ivar filler: octets of a field that does nothing.
    @ivar body: octets of the request's body.
    """

    path: str = "/b/"
    response: int = 1000
    seed: int = 1
    filler: int = 0
    body: int = 0

    def pack(self) -> bytes:
        """
        @return: the request.
        """
        method = "POST" if self.body else "GET"
        lines = [
            f"{method} {self.path}{self.response}/{self.seed} HTTP/1.1",
            "Host: www.example",
            f"X-Filler: {'f' * self.filler}",
        ]
        if self.body:
            lines.append(f"Content-Length: {self.body}")
        head = "\r\n".join(lines).encode("ascii") + _END
        return head + octets(self.body, self.seed + 1)

    def answer(self) -> bytes:
        """
        @return: the response to it.
        """
        return _response(self.response, self.seed)


def _response(count: int, seed: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % count + octets(count, seed)


@define(eq=False)
class Server:
    """
    The program of one connection: answers what C{Request} asks.

    @ivar log: all octets that the connections of one server received.
    @ivar closes: after how many responses it closes by itself; 0 for never.
    @ivar resets: it resets where it would answer.
    @ivar waits: seconds before each answer.
    """

    log: list[Connection] = field(factory=list)
    closes: int = 0
    resets: bool = False
    waits: float = 0.0
    _read: int = 0
    _asked: int = 0
    _answered: int = 0

    def __call__(self, connection: Connection) -> None:
        """
        See L{tests.simulation.host.Program}.
        """
        if connection not in self.log:
            self.log.append(connection)
        while (request := self._next(connection.received)) is not None:
            answer = partial(self._answer, connection, *request)
            if self.waits:
                connection.host.clock.call_later(self.waits, answer)
            else:
                answer()
        self._close(connection)

    def _answer(self, connection: Connection, count: int, seed: int) -> None:
        self._answered += 1
        if self.resets:
            connection.abort()
        elif not connection.out.closed:
            connection.send(_response(count, seed))
            self._close(connection)

    def _close(self, connection: Connection) -> None:
        done = connection.finished and self._answered == self._asked
        if (done or self._answered == self.closes > 0) and not connection.out.closed:
            connection.close()

    def _next(self, received: bytes) -> tuple[int, int] | None:
        head = received.find(_END, self._read)
        if head < 0:
            return None
        line, _, rest = received[self._read : head].partition(b"\r\n")
        _, length, value = rest.partition(b"Content-Length: ")
        end = head + len(_END) + (int(value) if length else 0)
        if len(received) < end:
            return None
        self._read = end
        self._asked += 1
        count, seed = line.split(b" ")[1].rsplit(b"/", 2)[1:]
        return int(count), int(seed)


@define(eq=False)
class Browser:
    """
    The client's program: one request after the other.

    @ivar write: sends octets; may cut them into pieces.
    @ivar half_close: closes its side with the last request.
    @ivar resets: resets the connection once that many octets came; C{-1} for never.
    @ivar sent: all that it wrote.
    """

    requests: list[Request]
    write: Callable[[Connection, bytes], None] = lambda connection, data: connection.send(data)
    half_close: bool = False
    resets: int = -1
    sent: bytearray = field(factory=bytearray)
    expected: bytearray = field(factory=bytearray)
    done: bool = False
    _asked: int = 0

    def __call__(self, connection: Connection) -> None:
        """
        See L{tests.simulation.host.Program}.
        """
        got = len(connection.into.octets)
        if 0 <= self.resets <= got and self._asked and not self.done:
            self.done = True
            connection.abort()
            return
        if connection.finished and not self.done:
            self.done = True
            connection.close()
        if self.done or got < len(self.expected):
            return
        if self._asked < len(self.requests):
            self._ask(connection, self.requests[self._asked])
        else:
            self.done = True
            connection.close()

    def _ask(self, connection: Connection, request: Request) -> None:
        self._asked += 1
        octets = request.pack()
        self.sent += octets
        self.expected += request.answer()
        self.write(connection, octets)
        if self.half_close and self._asked == len(self.requests):
            connection.close()
