# SPDX-License-Identifier: MIT
"""
Talks to a control port what nobody should.

C{boxes ADDRESS SEED}: nonsense, on many connections; C{peer NODE SOURCE ADDRESS SEED}: as a
node would that went mad, and prints what it was told.
"""

from __future__ import annotations

import json
import random
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from twisted.protocols.amp import AmpBox

from btcp.amp.boxes import BoxReader, serialize
from btcp.control.commands import Handoff, Hello, Identity, Terminate
from btcp.handoff import messages
from btcp.handoff.messages import Capabilities, Endpoint, Reason
from btcp.lab.topology import CONTROL_PORT as CONTROL

_ADDRESSES = (
    "0.0.0.0",
    "255.255.255.255",
    "224.0.0.1",
    "127.0.0.1",
    "192.0.2.12",
    "198.51.100.10",
)


def nonsense(rng: random.Random) -> list[bytes]:
    """
    What is no box, or too large a one, or half of one, or one that nobody asked for.
    """
    hello = _box(Hello, identity("c", rng).arguments())
    return [
        b"",
        rng.randbytes(4000),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(500),
        b"\0\0" * 1000,
        b"\x01\x00" + bytes(256),
        b"\x00\x04_ask\xff\xff" + bytes(65535) * 3,
        hello[: len(hello) // 2],
        hello[:-2],
        hello.replace(b"\x00\x01c", b"\x00\x01b"),
        hello.replace(b"\x00\x01c", b"\x00\x01a"),
        hello.replace(b"\x00\x01c", b"\x00\x03zzz"),
        hello.replace(b"version\x00\x011", b"version\x00\x019"),
        hello.replace(b"_command\x00\x05Hello", b"_command\x00\x07Handoff"),
        hello.replace(b"mtu", b"utm"),
        serialize(AmpBox({b"_answer": b"1"})),
        serialize(AmpBox({b"_error": b"1", b"_error_code": b"X", b"_error_description": b"\xff"})),
        b"".join(b"\x00\x02%02d\x00\x00" % number for number in range(100)) + b"\0\0",
    ]


def throw_boxes(address: str, seed: str) -> None:
    """
    See the module.
    """
    rng = random.Random(int(seed))
    for octets in nonsense(rng):
        with socket.create_connection((address, CONTROL), 5) as connection, suppress(OSError):
            for at in range(0, len(octets), 1000):
                connection.sendall(octets[at : at + 1000])
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass


def identity(node: str, rng: random.Random) -> Identity:
    """
    A node that has just started.
    """
    can = Capabilities(mtu=1500, sack=True, timestamps=True, window_scaling=True)
    return Identity(node=node, epoch=rng.getrandbits(63), capabilities=can)


def _box(command: Any, arguments: dict[str, Any], tag: bytes = b"1") -> bytes:
    box = command.makeArguments(arguments, None)
    box[b"_command"], box[b"_ask"] = command.commandName, tag
    return serialize(box)


def orders(rng: random.Random) -> Iterator[messages.Handoff]:
    """
    Handoffs, each value possible, hardly one of them likely.
    """
    for number in range(300):
        client = socket.inet_aton(rng.choice(_ADDRESSES))
        front = socket.inet_aton(rng.choice(_ADDRESSES))
        if number % 3 == 0:
            client, front = rng.randbytes(16), rng.randbytes(16)
        request = rng.choice((b"", b"x", rng.randbytes(65535), b"GET /b/1k HTTP/1.0\r\n\r\n"))
        yield messages.Handoff(
            id=rng.choice((number, rng.getrandbits(64))),
            listener=rng.choice(("web", "web", "web", "x" * 255)),
            client=Endpoint(client, rng.choice((0, 1, 80, 65535))),
            front=Endpoint(front, rng.choice((0, 80, 65535))),
            irs=rng.getrandbits(32),
            iss=rng.getrandbits(32),
            window=rng.choice((0, 1, 65535)),
            mss=rng.choice((0, 1, 536, 65535)),
            client_scale=rng.choice((-1, 0, 14)),
            front_scale=rng.choice((-1, 0, 14)),
            sack=rng.random() < 0.5,
            tsval=rng.choice((-1, 0, 0xFFFFFFFF)),
            front_tsval=rng.choice((-1, 0, 0xFFFFFFFF)),
            acked=0,
            request=request,
        )


def demands(node: str, rng: random.Random) -> Iterator[bytes]:
    """
    What a link carries once it is up: well-formed messages about flows nobody knows, and
    well-formed boxes that hold nonsense.
    """
    for order in orders(rng):
        yield _box(Handoff, {"message": order})
    for front in (node, "b", "c", "nobody", "x" * 255):
        for reason in Reason:
            numbers = [rng.getrandbits(64) for _ in range(5)]
            records = [
                messages.Terminate(front=front, id=n, reason=reason, client_next=1, server_next=2)
                for n in numbers
            ]
            yield _box(Terminate, {"records": records})
    for command in (b"Handoff", b"Terminate", b"Hello", b"StartTLS", b"amp_", b"\xff" * 200):
        for key in (b"records", b"state", b"ends", b"listener", b"message"):
            box = AmpBox({b"_ask": b"1", b"_command": command, key: rng.randbytes(100)})
            yield serialize(box)


def be_peer(node: str, source: str, address: str, seed: str) -> None:
    """
    See the module.
    """
    rng = random.Random(int(seed))
    told: dict[str, int] = {}
    with socket.create_connection((address, CONTROL), 5, (source, 0)) as link:
        link.sendall(_box(Hello, identity(node, rng).arguments()))
        reader, asked = BoxReader(), list(demands(node, rng))
        link.settimeout(10)
        for number, demand in enumerate(asked):
            tag = b"q%d" % number
            link.sendall(demand.replace(b"_ask\x00\x011", b"_ask\x00%c%s" % (len(tag), tag)))
        waiting = {b"q%d" % number for number in range(len(asked))}
        while waiting:
            octets = link.recv(65536)
            if not octets:
                told["link lost"] = 1
                break
            for box in reader.receive(octets):
                if b"_command" in box:
                    link.sendall(serialize(AmpBox({b"_answer": box[b"_ask"]})))
                    continue
                tag = box.get(b"_answer", box.get(b"_error", b""))
                waiting.discard(tag)
                word = box.get(b"_error_code", b"answered").decode()
                told[word] = told.get(word, 0) + 1
                if b"unknown" in box:
                    told["unknown"] = told.get("unknown", 0) + int(box[b"unknown"])
    print(json.dumps(told | {"unanswered": len(waiting)}))


if __name__ == "__main__":
    _THROW: dict[str, Callable[..., None]] = {"boxes": throw_boxes, "peer": be_peer}
    _THROW[sys.argv[1]](*sys.argv[2:])
