# SPDX-License-Identifier: MIT
"""
ICMP echo and timestamp requests.
"""

from __future__ import annotations

import os
import select
import struct
import time
from enum import Enum
from errno import EMSGSIZE
from socket import (
    AF_INET,
    AF_INET6,
    IPPROTO_ICMP,
    IPPROTO_ICMPV6,
    IPPROTO_IP,
    IPPROTO_IPV6,
    SOCK_RAW,
    inet_pton,
    socket,
)

from btcp.wire import checksum

# linux/in.h, linux/in6.h: the socket module does not name them all
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _PROBE = 10, 23, 3
_ECHO, _ECHO_REPLY, _ECHO6, _ECHO_REPLY6 = 8, 0, 128, 129
_TIMESTAMP, _TIMESTAMP_REPLY = 13, 14
_DAY = 86_400_000


class Echo(Enum):
    """
    The result of an echo request.
    """

    ANSWERED = "answered"
    SILENT = "silent"
    TOO_LARGE = "too large for the own device"
    IMPOSSIBLE = "not permitted"


def echo(address: str, size: int, source: str | None, patience: float) -> Echo:
    """
    Send an echo request with fragmentation forbidden, and wait for the reply.

    @param address: the destination, as text.
    @param size: octets of the IP packet.
    @param source: the source address, as text; C{None} for the kernel's choice.
    @param patience: seconds to wait.
    """
    v6 = ":" in address
    kind, reply = (_ECHO6, _ECHO_REPLY6) if v6 else (_ECHO, _ECHO_REPLY)
    body = bytes(size - (48 if v6 else 28))
    try:
        with _socket(v6, source) as asking:
            answer = _ask(asking, address, kind, reply, body, patience)
    except PermissionError:
        return Echo.IMPOSSIBLE
    except OSError as problem:
        return Echo.TOO_LARGE if problem.errno == EMSGSIZE else Echo.SILENT
    return Echo.SILENT if answer is None else Echo.ANSWERED


def skew(address: str, source: str | None, patience: float) -> float | None:
    """
    Compare a host's clock with this host's by an ICMP timestamp request (RFC 792).  ICMPv6 has
    no such message.

    @param patience: seconds to wait.
    @return: seconds that the other clock is ahead; C{None} if there is no usable answer.
    """
    if ":" in address:
        return None
    try:
        with _socket(False, source) as asking:
            began, started = time.time(), time.monotonic()
            body = struct.pack("!III", _now(began), 0, 0)
            answer = _ask(asking, address, _TIMESTAMP, _TIMESTAMP_REPLY, body, patience)
            taken = time.monotonic() - started
    except OSError:
        return None
    if answer is None or len(answer) < 12:
        return None
    theirs = struct.unpack("!III", answer[:12])[1]
    if theirs & 0x80000000:  # a value that is not milliseconds since midnight UT
        return None
    ahead = (theirs - _now(began + taken / 2) + _DAY // 2) % _DAY - _DAY // 2
    return float(ahead) / 1000


def _now(seconds: float) -> int:
    return int(seconds * 1000) % _DAY


def _socket(v6: bool, source: str | None) -> socket:
    made = socket(AF_INET6 if v6 else AF_INET, SOCK_RAW, IPPROTO_ICMPV6 if v6 else IPPROTO_ICMP)
    level, option = (IPPROTO_IPV6, _IPV6_MTU_DISCOVER) if v6 else (IPPROTO_IP, _IP_MTU_DISCOVER)
    try:
        made.setsockopt(level, option, _PROBE)
        if source is not None:
            made.bind((source, 0))
    except BaseException:
        made.close()
        raise
    return made


def _ask(
    asking: socket, address: str, kind: int, reply: int, body: bytes, patience: float
) -> bytes | None:
    """
    Send a request and wait for the matching reply.

    @return: the reply without its 8-octet header; C{None} if there is none in time.
    """
    v6 = asking.family == AF_INET6
    mark = os.urandom(4)
    head = struct.pack("!BBH4s", kind, 0, 0, mark)
    if not v6:  # the kernel does it for IPv6
        head = struct.pack("!BBH4s", kind, 0, checksum.field(checksum.total(head + body)), mark)
    asking.sendto(head + body, (address, 0))
    deadline = time.monotonic() + patience
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([asking], [], [], left)[0]:
            return None
        packet, sender = asking.recvfrom(65_536)
        start = 0 if v6 else (packet[0] & 15) * 4
        ours = packet[start : start + 1] == bytes([reply]) and packet[start + 4 : start + 8] == mark
        family = AF_INET6 if v6 else AF_INET
        if ours and inet_pton(family, sender[0].partition("%")[0]) == inet_pton(family, address):
            return packet[start + 8 :]
    return None
