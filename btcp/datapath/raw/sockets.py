# SPDX-License-Identifier: MIT
"""
Sockets that send packets as they are.
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
"""Octets: the segments of one super-packet count several times their size here."""

_NAMES = 65_536
"""Bound on remembered texts of addresses."""


def frame_socket(device: str) -> socket.socket:
    """
    @return: sends frames (see L{btcp.datapath.raw.frame}), super-packets too, out
        of a device.
    @raise DatapathError: if we may not.
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
    Sends whole IP packets wherever the host's routes lead.
    """

    def __init__(self) -> None:
        """
        @raise DatapathError: if we may not.
        """
        try:
            self._sockets = {4: _raw(socket.AF_INET), 16: _raw(socket.AF_INET6)}
        except OSError as problem:
            raise DatapathError(f"no raw socket: {problem.strerror}") from problem
        self._names: dict[bytes, tuple[str, int] | tuple[str, int, int, int]] = {}

    def send(self, packet: bytes | bytearray | memoryview, destination: bytes) -> None:
        """
        @param destination: packed address.
        @raise OSError: if the host would not send it.
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
