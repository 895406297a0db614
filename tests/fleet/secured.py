# SPDX-License-Identifier: MIT
"""
What TLS adds to a link: BTCP's own contexts, OpenSSL joined to itself in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from resource import getpagesize
from tempfile import TemporaryDirectory
from time import process_time

from attrs import frozen
from OpenSSL import SSL

from btcp.config.values import Credentials
from btcp.pki.authority import create, issue
from btcp.pki.trust import Trust

_DAYS = 1
_CHUNK = 65536
_BOX = bytes(42)
_TIMES = 2000


@frozen
class Secured:
    """
    Of one end of a link.

    @ivar handshake: seconds of CPU.
    @ivar octets: of the process's memory, once it is up.
    @ivar record: seconds of CPU to seal a small box and to open one.
    """

    handshake: float
    octets: float
    record: float


def secured(links: int) -> Secured:
    """
    Make that many links.  In a process of its own: in this one, memory that others gave
    back would be taken again, and none be seen to be.
    """
    with ProcessPoolExecutor(1, get_context("spawn")) as other:
        return other.submit(_secured, links).result()


def _secured(links: int) -> Secured:
    with TemporaryDirectory() as directory:
        one, other = _trusts(Path(directory))
        _link(one, other)  # what is made once
        before, began = _resident(), process_time()
        kept = [_link(one, other) for _ in range(links)]
        handshake = (process_time() - began) / links / 2
        octets = (_resident() - before) / links / 2
        began = process_time()
        for _ in range(_TIMES):
            _carry(*kept[0], _BOX)
        return Secured(handshake, octets, (process_time() - began) / _TIMES)


def _trusts(directory: Path) -> Iterator[Trust]:
    now = datetime.now(UTC)
    create(directory, 2 * _DAYS, now)
    for node in ("a", "b"):
        issue(directory, node, _DAYS, now)
        home = directory / node
        files = (str(home / name) for name in ("node.crt", "node.key", "ca.crt"))
        yield Trust(Credentials(*files), node)


def _link(one: Trust, other: Trust) -> tuple[SSL.Connection, SSL.Connection]:
    client, server = one.clientConnectionForTLS(None), other.serverConnectionForTLS(None)
    client.set_connect_state()
    server.set_accept_state()
    waiting = {client, server}
    while waiting:
        for end, peer in ((client, server), (server, client)):
            try:
                end.do_handshake()
                waiting.discard(end)
            except SSL.WantReadError:
                pass
            _move(end, peer)
    _carry(client, server, _BOX)
    _carry(server, client, _BOX)
    return client, server


def _carry(end: SSL.Connection, peer: SSL.Connection, data: bytes) -> None:
    end.send(data)
    _move(end, peer)
    if peer.recv(_CHUNK) != data:
        raise ValueError("TLS does not carry what it was given")


def _move(end: SSL.Connection, peer: SSL.Connection) -> None:
    try:
        peer.bio_write(end.bio_read(_CHUNK))
    except SSL.WantReadError:
        pass


def _resident() -> int:
    """
    @return: octets.
    """
    return int(Path("/proc/self/statm").read_text().split()[1]) * getpagesize()
