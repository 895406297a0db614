# SPDX-License-Identifier: MIT
"""
A client far away: runs in a lab's client namespace, prints a JSON object.

Each exchange has a connection of its own; several go on at the same time, for at a distance a
client mostly waits.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

_PATIENCE = 300.0
_PIECE = 1 << 18
_SLOW_BUFFER = 1 << 16
_APART = 0.02
"""Seconds between the first connections."""


def exchange(task: dict[str, Any]) -> float:
    """
    Do one exchange.

    @param task: C{host}, C{port}, C{path}; C{upload}, octets of a body that is sent; C{wait},
        seconds between the connection, or an exchange before, and the request; C{warm}, whether
        there is such an exchange; C{pace}, octets per second that a slow reader takes, or 0.
    @return: seconds to the last octet; without C{wait}, from the SYN on, else from the request on.
    @raise OSError: it failed.
    """
    began = time.perf_counter()
    with socket.socket(socket.AF_INET6 if ":" in task["host"] else socket.AF_INET) as connection:
        connection.settimeout(_PATIENCE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if task["pace"]:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SLOW_BUFFER)
        connection.connect((task["host"], task["port"]))
        if task["warm"]:
            _ask(connection, task, 0)
        if task["wait"]:
            time.sleep(task["wait"])
            began = time.perf_counter()
        _ask(connection, task, task["pace"])
        return time.perf_counter() - began


def _ask(connection: socket.socket, task: dict[str, Any], pace: float) -> None:
    size = task["upload"]
    method = "POST" if size else "GET"
    head = f"{method} {task['path']} HTTP/1.1\r\nHost: far.example\r\n"
    connection.sendall((head + f"Content-Length: {size}\r\n" * bool(size) + "\r\n").encode())
    if size:
        connection.sendall(bytes(size))
    answer = b""
    while b"\r\n\r\n" not in answer:
        some = connection.recv(4096)
        if not some:
            raise OSError("closed before the response")
        answer += some
    head, _, rest = answer.decode("latin-1").partition("\r\n\r\n")
    if not head.startswith("HTTP/1.1 2"):
        raise OSError(head.splitlines()[0])
    fields = dict(line.lower().split(": ", 1) for line in head.splitlines()[1:])
    left = int(fields["content-length"]) - len(rest)
    buffer = bytearray(_PIECE)
    while left > 0:
        if pace:
            time.sleep(4096 / pace)
        got = connection.recv_into(buffer, min(left, 4096 if pace else _PIECE))
        if not got:
            raise OSError(f"closed {left} octets before the end")
        left -= got


def _tried(task: dict[str, Any], number: int) -> float | str:
    try:
        # Not all at once: what a daemon takes for ten handoffs is not what this is about.
        time.sleep(_APART * number if number < task["parallel"] else 0)
        return exchange(task)
    except OSError as problem:
        return str(problem)


def main() -> None:
    """
    Read a task and how often, and at how many at a time, from the first argument.
    """
    task = json.loads(sys.argv[1])
    with ThreadPoolExecutor(task["parallel"]) as pool:
        results = list(pool.map(partial(_tried, task), range(task["count"])))
    seconds = [each for each in results if isinstance(each, float)]
    print(json.dumps({"seconds": seconds, "errors": [e for e in results if isinstance(e, str)]}))


if __name__ == "__main__":
    main()
