# SPDX-License-Identifier: MIT
"""
The lab that the claims are shown in, and sockets of its hosts in this very process.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPResponse
from typing import TypeVar
from unittest import SkipTest

from btcp.lab.cluster import Lab
from btcp.lab.topology import CLIENT, LISTEN_PORT
from tests.modes import RAW_REPLAY, Mode
from tests.turns import take_turn

IN_THE_OPEN: Mapping[str, object] = {
    "control": {"insecure": True},
    # Of several labs at once, none needs much of the kernel's memory.
    "limits": {"flows": 4096},
}
"""Nodes speak in plain words, where a capture sees it."""

PATIENCE = 20.0
"""Seconds for anything that a client waits for."""

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)

T = TypeVar("T")
End = tuple[str, int]
"""Address and port."""


class Stage:
    """
    A lab for each mode, from its first use to the end of the process, however that comes.
    """

    def __init__(self, prefix: str, config: Mapping[str, object] | None = None) -> None:
        """
        @param config: as L{Lab.config}; what it leaves out is L{IN_THE_OPEN}.
        """
        self._prefix = prefix
        self._config = {**IN_THE_OPEN, **(config or {})}
        self._labs: dict[Mode, Lab] = {}
        self._problems: dict[Mode, Exception] = {}

    def lab(self, mode: Mode = RAW_REPLAY) -> Lab:
        """
        @raise SkipTest: if this machine can have none in this mode.
        @raise LabError: if it did not come up, now or at an earlier call.
        """
        if mode in self._problems:
            raise self._problems[mode]
        if mode not in self._labs:
            lacks = mode.lacks()
            if lacks:
                raise SkipTest("; ".join(lacks))
            lab = Lab(self._prefix + mode.prefix.lower(), config={**self._config, **mode.config})
            take_turn(lab.prefix)
            atexit.register(lab.down)
            try:
                lab.up()
            except Exception as problem:
                self._problems[mode] = problem
                raise
            self._labs[mode] = lab
        return self._labs[mode]


def inside(lab: Lab, host: str, make: Callable[[], T]) -> T:
    """
    Call C{make} in a thread that is in the host's network namespace; a socket that it makes
    stays in there, whoever uses it.
    """
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(_enter, str(lab.network.namespace(host)), make).result()


def _enter(namespace: str, make: Callable[[], T]) -> T:
    descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(descriptor, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")
    finally:
        os.close(descriptor)
    return make()


def dial(
    lab: Lab,
    family: int,
    host: str,
    port: int = LISTEN_PORT,
    source: End | None = None,
    prepare: Callable[[socket.socket], None] | None = None,
) -> socket.socket:
    """
    Connect from the lab's client to one of its hosts; the client's own kernel does it.

    @param family: 4 or 6.
    @param source: where to connect from, unless the kernel is to choose.
    @param prepare: is given the socket before it is connected.
    """

    def make() -> socket.socket:
        made = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6)
        made.settimeout(PATIENCE)
        if source is not None:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind(source)
        if prepare is not None:
            prepare(made)
        made.connect((lab.address(host, family), port))
        return made

    return inside(lab, CLIENT, make)


def request(path: str, *headers: str, method: str = "GET", version: str = "1.1") -> bytes:
    """
    The head of a request.
    """
    lines = [f"{method} {path} HTTP/{version}", "Host: www.example", *headers, "", ""]
    return "\r\n".join(lines).encode()


def answer(connection: socket.socket, method: str = "GET") -> tuple[HTTPResponse, bytes]:
    """
    Read one response.

    @return: its head, and its body.
    """
    response = HTTPResponse(connection, method=method)
    response.begin()
    return response, response.read()
