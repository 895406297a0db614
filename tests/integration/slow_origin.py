# SPDX-License-Identifier: MIT
"""
An origin that takes its time: waits before it answers, or answers drop by drop.

C{slow_origin.py NODE DELAY ADDRESS PORT [ADDRESS PORT...]}; says C{ready} when it listens.
"""

from __future__ import annotations

import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from threading import Thread

BODY = bytes(range(256)) * 400
"""What any node answers to C{/late/}."""

DROP = bytes(range(256)) * 32
PAUSE = 0.02
"""Seconds between two drops of what C{/drip/} answers, which does not end."""


class Server(ThreadingHTTPServer):
    """
    @ivar node: its name, for the answer's header.
    @ivar delay: seconds.
    """

    daemon_threads = True

    def __init__(self, address: str, port: int, node: str, delay: float) -> None:
        if ":" in address:
            self.address_family = socket.AF_INET6
        self.node = node
        self.delay = delay
        super().__init__((address, port), Answer)

    def server_bind(self) -> None:
        """
        As in L{HTTPServer}, which also asks the DNS for a name.
        """
        TCPServer.server_bind(self)


class Answer(BaseHTTPRequestHandler):
    """
    One connection.
    """

    server: Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """
        Print that the request was executed, and answer it late.
        """
        self.rfile.read(int(self.headers["Content-Length"]))
        print("executed", flush=True)
        self.do_GET()

    def do_GET(self) -> None:
        dripping = self.path.startswith("/drip/")
        if not dripping:
            time.sleep(self.server.delay)
        self.send_response(200)
        self.send_header("X-Node", self.server.node)
        self.send_header("Content-Length", str(1 << 30 if dripping else len(BODY)))
        self.end_headers()
        try:
            while dripping:
                self.wfile.write(DROP)
                time.sleep(PAUSE)
            self.wfile.write(BODY)
        except OSError:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """
        Say nothing.
        """


def main(arguments: list[str]) -> None:
    """
    Serve for ever.
    """
    node, delay, *ends = arguments
    for address, port in zip(ends[::2], ends[1::2], strict=True):
        Thread(target=Server(address, int(port), node, float(delay)).serve_forever).start()
    print("ready", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
