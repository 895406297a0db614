# SPDX-License-Identifier: MIT
"""
A client that loses a connection without a word and comes back from the same port.

Arguments: address, port, the paths of both requests, and C{idle} or C{amid} (the answer to the
first request was read whole, or not).  It prints C{lost} when the first connection is gone, reads a
line, connects anew and prints the status code of the second answer.
"""

from __future__ import annotations

import http.client
import socket
import struct
import sys


def connected(address: str, port: int) -> http.client.HTTPConnection:
    """
    Connect to port 80 from a given port.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    host = f"[{address}]" if family == socket.AF_INET6 else address
    connection = http.client.HTTPConnection(host, timeout=20)
    connection.sock = socket.socket(family)
    connection.sock.settimeout(20)
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    connection.sock.bind(("", port))
    connection.sock.connect((address, 80))
    return connection


def main(address: str, port: str, path: str, again: str, phase: str) -> None:
    """
    Do what the module says.
    """
    first = connected(address, int(port))
    first.request("GET", path)
    answer = first.getresponse()
    assert answer.status == 200, f"{answer.status} {answer.reason}"
    answer.read(None if phase == "idle" else 1000)
    print("ready", flush=True)
    sys.stdin.readline()
    # The reset that this sends is dropped by the test, as if the client's power had failed.
    assert first.sock is not None
    first.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    answer.close()
    first.close()
    print("lost", flush=True)
    sys.stdin.readline()
    second = connected(address, int(port))
    second.request("GET", again)
    print(second.getresponse().status, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
