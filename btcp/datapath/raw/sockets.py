# SPDX-License-Identifier: MIT
"""
Sockets that send frames and IP packets unchanged.
"""

from __future__ import annotations

import socket

from btcp.datapath.interface import DatapathError
from btcp.datapath.raw.guard import MARK

# linux/if_packet.h, asm-generic/socket.h: what the socket module does not name
_SOL_PACKET = 263
_PACKET_VNET_HDR = 15
_SO_SNDBUFFORCE = 32

_SEND_BUFFER = 4 << 20
"""Size of the send buffer in octets; the kernel charges packets with several times their size."""

_NAMES = 65_536
"""Maximum number of cached socket addresses."""


def frame_socket(device: str) -> socket.socket:
    """
    Open a socket that sends frames (see L{btcp.datapath.raw.frame}), including super-packets,
    through a device.

    @raise DatapathError: if the host does not permit it.
    """
    try:
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        made.bind((device, 0))
        made.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
        _prepare(made)
    except OSError as problem:
        raise DatapathError(f"no packet socket on {device}: {problem.strerror}") from problem
    return made


class PacketSender:
    """
    A sender of whole IP packets by the host's routing table.
    """

    def __init__(self) -> None:
        """
        Open the raw sockets.

        @raise DatapathError: if the host does not permit it.
        """
        try:
            self._sockets = {4: _raw(socket.AF_INET), 16: _raw(socket.AF_INET6)}
        except OSError as problem:
            raise DatapathError(f"no raw socket: {problem.strerror}") from problem
        self._names: dict[bytes, tuple[str, int] | tuple[str, int, int, int]] = {}

    def send(self, packet: bytes | bytearray | memoryview, destination: bytes) -> None:
        """
        Send a packet.

        @param destination: its packed destination address.
        @raise OSError: if the host cannot send it.
        """
        name = self._names.get(destination)
        if name is None:
            name = self._name(destination)
        self._sockets[len(destination)].sendto(packet, name)

    def close(self) -> None:
        """
        Close the sockets.
        """
        for each in self._sockets.values():
            each.close()

    def _name(self, destination: bytes) -> tuple[str, int] | tuple[str, int, int, int]:
        if len(self._names) >= _NAMES:
            self._names.clear()
        name: tuple[str, int] | tuple[str, int, int, int]
        if len(destination) == 4:
            name = (socket.inet_ntop(socket.AF_INET, destination), 0)
        else:
            name = (socket.inet_ntop(socket.AF_INET6, destination), 0, 0, 0)
        self._names[destination] = name
        return name


def _raw(family: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_RAW)
    _prepare(made)
    return made


def _prepare(made: socket.socket) -> None:
    made.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)
    made.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _SEND_BUFFER)
