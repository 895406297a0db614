# SPDX-License-Identifier: MIT
"""
A server program that ends connections in its own ways; run by path, with addresses and a port.

C{/…/after-eof} is answered when the client has closed its side; C{/…/reset} with a part of what
was promised and a RST.
"""

from __future__ import annotations

import random
import socket
import struct
import sys
import threading
import time
from functools import cache

SIZE = 10 << 20
PART = 64 << 10
READY = b"listening\n"

_LINGER = struct.pack("ii", 1, 0)


@cache
def body() -> bytes:
    """
    What C{/…/after-eof} is answered with.
    """
    return random.Random("after-eof").randbytes(SIZE)


def _read(connection: socket.socket, done: bytes | None) -> bytes:
    """
    @param done: what ends the request; C{None} to read on to the end of the stream.
    """
    received = b""
    while done is None or done not in received:
        piece = connection.recv(65536)
        if not piece:
            break
        received += piece
    return received


def _serve(connection: socket.socket) -> None:
    head = _read(connection, b"\r\n\r\n")
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE
    with connection:
        if b"/after-eof " in head:
            _read(connection, None)
            connection.sendall(answer + body())
        else:
            connection.sendall(answer + body()[:PART])
            time.sleep(0.1)  # so that the client has it before the reset throws away the rest
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)


def _listen(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address, port), family=family, backlog=64)


def _accept(listening: socket.socket) -> None:
    while True:
        connection, _ = listening.accept()
        threading.Thread(target=_serve, args=(connection,), daemon=True).start()


def main(addresses: list[str], port: int) -> None:
    """
    Listen on all addresses, and say so.
    """
    body()
    listening = [_listen(each, port) for each in addresses]
    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()
    for each in listening:
        threading.Thread(target=_accept, args=(each,)).start()


if __name__ == "__main__":
    main(sys.argv[1:-1], int(sys.argv[-1]))
