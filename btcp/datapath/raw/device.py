# SPDX-License-Identifier: MIT
"""
Network devices: the daemon's TAP device, and properties of other devices.
"""

from __future__ import annotations

import os
import socket
from errno import EBUSY, ENOENT
from fcntl import ioctl
from pathlib import Path
from socket import if_nametoindex
from struct import Struct
from sys import byteorder

from btcp.datapath.interface import DatapathError, DeviceMissing, Repair

# linux/if_tun.h
_TUNSETIFF = 0x400454CA
_TUNSETOFFLOAD = 0x400454D0
_TUNSETIFINDEX = 0x400454DA
_IFF_TAP = 0x0002
_IFF_NO_PI = 0x1000
_IFF_VNET_HDR = 0x4000
_TUN_F_CSUM, _TUN_F_TSO4, _TUN_F_TSO6, _TUN_F_TSO_ECN = 1, 2, 4, 8

# linux/sockios.h, net/if.h
_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914
_SIOCGIFMTU = 0x8921
_SIOCGIFHWADDR = 0x8927
_SIOCSIFTXQLEN = 0x8943
_IFF_UP = 1

_FLAGS = Struct("16sH22x")
_NUMBER = Struct("16si20x")
_ADDRESS = Struct("16sH6s16x")

QUEUE = 8192
"""Length of the TAP device's queue in packets: half a second of new connections."""

_SYSCTL = Path("/proc/sys/net")

_TAP_SYSCTLS = (
    ("ipv4", "rp_filter", 0),  # clients are behind another device
    ("ipv6", "addr_gen_mode", 1),  # no link-local address: the host sends nothing through it
    ("ipv6", "accept_ra", 0),
)


class Tap:
    """
    A TAP device, which exists as long as its descriptor is open.

    @ivar name: the name of the device.
    @ivar fd: non-blocking descriptor, which reads and writes one frame at a time.
    @ivar index: the interface index.
    @ivar hardware_address: its hardware address, 6 octets.
    """

    def __init__(self, name: str, index: int = 0) -> None:
        """
        Create the device and bring it up.

        @param index: the interface index to request; 0 for the kernel's choice.
        @raise DatapathError: if the host does not permit it, or another process has the device.
        """
        self.name = name
        try:
            self.fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as problem:
            hint = "load the tun module" if problem.errno == ENOENT else problem.strerror
            raise DatapathError(f"cannot open /dev/net/tun: {hint}") from problem
        try:
            self._set_up(index)
            self.index = if_nametoindex(name)
        except OSError as problem:
            self.close()
            if problem.errno == EBUSY:
                raise DatapathError(f"device {name} is in use: is btcp running?") from problem
            raise DatapathError(f"cannot set up device {name}: {problem.strerror}") from problem
        self.hardware_address = hardware_address(name)

    def close(self) -> None:
        """
        Remove the device.
        """
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1

    def is_there(self) -> bool:
        """
        Tell whether the device still exists.
        """
        return _index(self.name) == self.index

    def renewed(self) -> Tap:
        """
        Create the device again after it was deleted, with the same interface index, which tc
        programs and packet filter refer to.

        @return: the new device; this one is closed.
        @raise DatapathError: if the host does not permit it, or another device has the index now.
        """
        self.close()
        try:
            return Tap(self.name, self.index)
        except DatapathError as problem:
            again = (
                f"device {self.name} was deleted and cannot be made again as number {self.index}"
            )
            raise DatapathError(f"{again}: {problem}") from problem

    def verify(self) -> list[Repair]:
        """
        Bring the device up and set its sysctls, unless all is as it was made.

        @raise DatapathError: if that cannot be.
        """
        repairs = []
        try:
            if not self._flags() & _IFF_UP:
                self._bring_up()
                repairs.append(Repair("tap", f"device {self.name} was down"))
            for family, key, value in _TAP_SYSCTLS:
                if self._sysctl(family, key, value, only_if_changed=True):
                    why = f"net.{family}.conf.{self.name}.{key} was not {value}"
                    repairs.append(Repair("sysctl", why))
        except OSError as problem:
            raise DatapathError(f"device {self.name}: {problem.strerror}") from problem
        return repairs

    def _set_up(self, index: int) -> None:
        name = self.name.encode("ascii")
        if index:
            ioctl(self.fd, _TUNSETIFINDEX, index.to_bytes(4, byteorder))
        ioctl(self.fd, _TUNSETIFF, _FLAGS.pack(name, _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR))
        ioctl(self.fd, _TUNSETOFFLOAD, _TUN_F_CSUM | _TUN_F_TSO4 | _TUN_F_TSO6 | _TUN_F_TSO_ECN)
        for setting in _TAP_SYSCTLS:
            self._sysctl(*setting)
        _ask(_SIOCSIFTXQLEN, _NUMBER.pack(name, QUEUE))
        self._bring_up()

    def _flags(self) -> int:
        name = self.name.encode("ascii")
        return int(_FLAGS.unpack(_ask(_SIOCGIFFLAGS, _FLAGS.pack(name, 0)))[1])

    def _bring_up(self) -> None:
        name = self.name.encode("ascii")
        _ask(_SIOCSIFFLAGS, _FLAGS.pack(name, self._flags() | _IFF_UP))

    def _sysctl(self, family: str, key: str, value: int, *, only_if_changed: bool = False) -> bool:
        """
        Set a sysctl of the device.

        @param only_if_changed: do not write it if it has this value.  A sysctl that was never
            written for a device follows the value for new devices.
        @return: whether it was written.
        """
        path = _SYSCTL / family / "conf" / self.name / key
        if not path.parent.exists():  # there is no ipv6 directory on a host without IPv6
            return False
        if only_if_changed and path.read_text().strip() == str(value):
            return False
        path.write_text(f"{value}\n")
        return True


def hardware_address(name: str) -> bytes:
    """
    Return the hardware address of a device, 6 octets.

    @raise DatapathError: if there is no such device, or it is not an Ethernet device.
    """
    try:
        reply = _ask(_SIOCGIFHWADDR, _ADDRESS.pack(name.encode(), 0, b""))
    except OSError as problem:
        raise DatapathError(f"device {name}: {problem.strerror}") from problem
    _, kind, address = _ADDRESS.unpack(reply)
    if kind != 1:  # ARPHRD_ETHER
        raise DatapathError(f"device {name} is not an Ethernet device")
    return bytes(address)


def _index(name: str) -> int:
    try:
        return if_nametoindex(name)
    except OSError:
        return 0


def index(name: str) -> int:
    """
    Return the interface index of a device.

    @raise DeviceMissing: if there is no such device.
    """
    number = _index(name)
    if not number:
        raise DeviceMissing(f"there is no device {name}")
    return number


def mtu(name: str) -> int:
    """
    Return the MTU of a device, in octets.

    @raise DatapathError: if there is no such device.
    """
    try:
        return int(_NUMBER.unpack(_ask(_SIOCGIFMTU, _NUMBER.pack(name.encode(), 0)))[1])
    except OSError as problem:
        raise DatapathError(f"device {name}: {problem.strerror}") from problem


def require_loose_source_check() -> None:
    """
    Check that the host does not use strict reverse path filtering (RFC 3704): clients' packets
    reach the local TCP through the TAP device, which no route to the clients uses.

    @raise DatapathError: if the host would drop such packets.
    """
    path = _SYSCTL / "ipv4/conf/all/rp_filter"
    if path.exists() and path.read_text().strip() == "1":
        raise DatapathError(
            "net.ipv4.conf.all.rp_filter is 1 (strict): the local TCP would not see handed-off "
            "connections; set it to 2 (loose) or 0, and net.ipv4.conf.DEVICE.rp_filter to 1 where "
            "strictness is wanted"
        )


def _ask(request: int, argument: bytes) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        return ioctl(asked, request, argument)
