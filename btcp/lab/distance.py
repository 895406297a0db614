# SPDX-License-Identifier: MIT
"""
Distance between the client and the nodes of a lab: a program that holds packets for a while.

The router's kernel routes the packets of one direction into a TUN device.  This program, one
process for each direction, reads them there, and writes each back after the delay; the kernel then
forwards it as if it had just arrived.  Without a rate, a packet may be a super-packet of up to
64 kB, and is passed on as it is, which costs little; with one, and wherever packets are to be lost,
the kernel cuts it into packets of the MTU first.

This module imports nothing but the standard library: it is started often.
"""

from __future__ import annotations

import argparse
import os
import select
import sys
import time
from collections import deque
from collections.abc import Callable
from fcntl import ioctl
from struct import Struct

_TUNSETIFF, _TUNSETOFFLOAD = 0x400454CA, 0x400454D0  # linux/if_tun.h
_IFF_TUN, _IFF_NO_PI, _IFF_VNET_HDR = 0x0001, 0x1000, 0x4000
_OFFLOADS = 1 | 2 | 4  # TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6
_FLAGS = Struct("16sH22x")

_LARGEST = 65_536 + 64
"""Octets of a super-packet, with the virtio_net_hdr before it."""

_QUOTA = 64
"""Packets read before it is seen whether others are due."""

MOST_HELD = 64 << 20
"""Octets held without a rate: 100 MB/s for more than half a second."""

PRIORITY = -20
"""Niceness: the delay is to be exact on a busy machine."""


class Line:
    """
    A line with a delay, a rate, and a queue in front of it that is cut off at the tail.
    """

    def __init__(self, delay: float, rate: float = 0.0, most: int = MOST_HELD) -> None:
        """
        @param delay: seconds from the end of a packet's transmission to its arrival.
        @param rate: octets per second; 0 for no limit.
        @param most: octets that may wait for their transmission, or without a rate, be under way.
        """
        self._delay = delay
        self._pace = 1.0 / rate if rate else 0.0
        self._most = most
        self._free = 0.0
        self._held = 0
        self._packets: deque[tuple[float, bytes]] = deque()

    def put(self, packet: bytes, now: float) -> bool:
        """
        @return: false if there was no room for the packet.
        """
        size = len(packet)
        if self._pace:
            start = max(now, self._free)
            if (start - now) > self._most * self._pace:
                return False
            self._free = now = start + size * self._pace
        elif self._held + size > self._most:
            return False
        self._held += size
        self._packets.append((now + self._delay, packet))
        return True

    @property
    def due(self) -> float | None:
        """
        When the next packet arrives; C{None} if none is under way.
        """
        return self._packets[0][0] if self._packets else None

    def take(self, now: float) -> bytes | None:
        """
        @return: a packet that has arrived.
        """
        if not self._packets or self._packets[0][0] > now:
            return None
        packet = self._packets.popleft()[1]
        self._held -= len(packet)
        return packet


def open_device(name: str, whole: bool) -> int:
    """
    Make a TUN device that lives as long as it is open.

    @param whole: it takes super-packets.
    @return: its file descriptor, which does not block.
    """
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    ioctl(fd, _TUNSETIFF, _FLAGS.pack(name.encode(), _IFF_TUN | _IFF_NO_PI | _IFF_VNET_HDR))
    ioctl(fd, _TUNSETOFFLOAD, _OFFLOADS if whole else 0)
    return fd


def carry(fd: int, line: Line, clock: Callable[[], float] = time.monotonic) -> None:
    """
    Move packets for ever.
    """
    while True:
        now, due = clock(), line.due
        wait = None if due is None else max(due - now, 0.0)
        if wait is None or wait:
            select.select([fd], [], [], wait)
            now = clock()
        while (packet := line.take(now)) is not None:
            _write(fd, packet)
        for _ in range(_QUOTA):
            try:
                packet = os.read(fd, _LARGEST)
            except BlockingIOError:
                break
            line.put(packet, now)


def _write(fd: int, packet: bytes) -> None:
    try:
        os.write(fd, packet)
    except OSError:  # the device is down, or the kernel has no memory: lost, as on any line
        pass


def main(arguments: list[str]) -> None:
    """
    Make the device, say C{ready}, and carry packets until a signal ends the process.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("device")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds")
    parser.add_argument("--rate", type=float, default=0.0, help="octets per second")
    parser.add_argument("--most", type=int, default=MOST_HELD, help="octets held")
    parser.add_argument("--whole", action="store_true", help="let super-packets pass whole")
    options = parser.parse_args(arguments)
    os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    fd = open_device(options.device, options.whole)
    print("ready", flush=True)
    carry(fd, Line(options.delay, options.rate, options.most))


if __name__ == "__main__":
    main(sys.argv[1:])
