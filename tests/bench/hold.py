# SPDX-License-Identifier: MIT
"""
Clients that have had an answer and keep their connections.  Run on a lab's client; ends when its
standard input does.

Arguments: COUNT, then ADDRESS PORT PATH for each target, which are asked in turn.
"""

from __future__ import annotations

import resource
import socket
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

_AT_ONCE = 32
_PATIENCE = 20.0
_READ = 65536


def asked(address: str, port: str, path: str) -> socket.socket:
    """
    @return: a connection whose request was answered.
    @raise OSError: it was not.
    """
    connection = socket.create_connection((address, int(port)), _PATIENCE)
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n".encode())
    answer = b""
    while not complete(answer):
        piece = connection.recv(_READ)
        if not piece:
            raise ConnectionError("closed before the answer was complete")
        answer += piece
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise ConnectionError(answer.partition(b"\r\n")[0].decode(errors="replace"))
    return connection


def complete(answer: bytes) -> bool:
    """
    @param answer: so far; its length is in its head.
    """
    head, end, body = answer.partition(b"\r\n\r\n")
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
    return bool(end) and len(body) >= int(length)


def main(count: int, words: Sequence[str]) -> None:
    """
    Say C{ready} when all have been answered, then wait.
    """
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    targets = [words[first : first + 3] for first in range(0, len(words), 3)]
    chosen = (targets[number % len(targets)] for number in range(count))
    with ThreadPoolExecutor(_AT_ONCE) as clients:
        kept = list(clients.map(lambda target: asked(*target), chosen))
    print("ready", len(kept), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
