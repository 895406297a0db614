# SPDX-License-Identifier: MIT
"""
A device with the tc programs on it, and who is at the other end of the wire.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ctypes import CDLL, get_errno
from struct import Struct
from typing import TypeVar

from attrs import frozen

NEAR = "near"
"""The device with the programs."""

UP = "upward"
"""Leads to the daemon."""

_PAIRS = ((NEAR, "far"), (UP, "daemon"))
OWN = "02:00:00:00:00:08"
"""The hardware address of C{near}."""

NEIGHBOUR = "02:00:00:00:00:99"
"""The hardware address of all neighbours."""

_NEW_NETWORK = 0x40000000  # linux/sched.h: CLONE_NEWNET

# linux/if_packet.h, linux/virtio_net.h
_SOL_PACKET, _PACKET_VNET_HDR = 263, 15
_VNET = Struct("=BBHHHH")
_NEEDS_CSUM = 1
_GSO = {0x0800: 1, 0x86DD: 4}
_ETHERNET = 14

T = TypeVar("T")


@frozen
class Frame:
    """
    A frame on the wire.

    @ivar octets: from its Ethernet header on.
    @ivar partial: its TCP checksum is left to whoever sends it.
    @ivar gso_size: of a super-packet, whose checksum is partial; else 0.
    """

    octets: bytes
    partial: bool = False
    gso_size: int = 0

    @property
    def packet(self) -> bytes:
        """
        What is behind the Ethernet header.
        """
        return self.octets[_ETHERNET:]

    def pack(self) -> bytes:
        """
        @return: as packet sockets have it.
        """
        if not self.partial:
            return bytes(_VNET.size) + self.octets
        kind = _GSO[int.from_bytes(self.octets[12:14], "big")] if self.gso_size else 0
        start = _ETHERNET + ((self.octets[14] & 15) * 4 if self.octets[14] >> 4 == 4 else 40)
        headers = start + (self.octets[start + 12] >> 4) * 4
        header = _VNET.pack(_NEEDS_CSUM, kind, headers, self.gso_size, start, 16)
        return header + self.octets

    @classmethod
    def unpack(cls, received: bytes) -> Frame:
        """
        @param received: as packet sockets have it.
        """
        flags, kind, _, size, _, _ = _VNET.unpack_from(received)
        return cls(received[_VNET.size :], bool(flags & _NEEDS_CSUM), size if kind else 0)


class Wire:
    """
    A network of its own, with a device C{near}, whose other end the test holds, and a device
    C{upward}, whose other end is where the daemon would be.  All that is done in it is done in one
    thread, for a namespace is a thread's.
    """

    def __init__(self, addresses: list[str], neighbours: list[str]) -> None:
        """
        @param addresses: of C{near}, with the length of their prefix.
        @param neighbours: who answers there.
        """
        self._thread = ThreadPoolExecutor(1)
        self._sockets: dict[str, socket.socket] = {}
        self.do(self._build, addresses, neighbours)

    def do(self, what: Callable[..., T], *arguments: object) -> T:
        """
        @return: what a function returns that is called there.
        """
        return self._thread.submit(what, *arguments).result()

    def run(self, command: str) -> str:
        """
        @return: what a command printed.
        @raise subprocess.CalledProcessError: if it failed.
        """
        words = command.split()
        done = self.do(lambda: subprocess.run(words, capture_output=True, check=True, text=True))
        return done.stdout

    def close(self) -> None:
        """
        The network vanishes with its last thread and socket.
        """
        for each in self._sockets.values():
            each.close()
        self._thread.shutdown()

    def send(self, device: str, frame: Frame) -> None:
        """
        Send a frame out of a device.
        """
        self._sockets[device].send(frame.pack())

    def receive(self, device: str) -> list[Frame]:
        """
        @return: the frames that came in there so far, for one host; the kernel takes a frame
            all the way in the call that sends it.
        """
        frames = []
        while select.select([self._sockets[device]], [], [], 0)[0]:
            octets, (_, _, kind, *_) = self._sockets[device].recvfrom(1 << 17)
            if kind not in (socket.PACKET_OUTGOING, socket.PACKET_MULTICAST):
                frames.append(Frame.unpack(octets))
        return frames

    def _build(self, addresses: list[str], neighbours: list[str]) -> None:
        if CDLL(None, use_errno=True).unshare(_NEW_NETWORK):
            raise OSError(get_errno(), os.strerror(get_errno()))
        for device, peer in _PAIRS:
            _ip(f"link add {device} type veth peer name {peer}")
            for each in (device, peer):
                # Nobody is to say anything of his own on these wires.
                _ip(f"link set dev {each} addrgenmode none")
                _ip(f"link set dev {each} up")
        _ip(f"link set dev {NEAR} address {OWN}")
        for address in addresses:
            at_once = "nodad" if ":" in address else ""
            _ip(f"address add {address} dev {NEAR} {at_once}")
        for neighbour in neighbours:
            _ip(f"neigh add {neighbour} lladdr {NEIGHBOUR} dev {NEAR}")
        _ip(f"route add default dev {NEAR}")
        _ip(f"-6 route add default dev {NEAR}")
        for device in (NEAR, "far", "daemon"):
            self._sockets[device] = _packet_socket(device)


def _ip(command: str) -> None:
    subprocess.run(["ip", *command.split()], check=True)


def _packet_socket(device: str) -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    made.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
    made.bind((device, 3))  # linux/if_ether.h: ETH_P_ALL
    return made
