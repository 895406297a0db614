# SPDX-License-Identifier: MIT
"""
Look-up of a TCP connection of this host by its 4-tuple, over netlink (C{sock_diag(7)}).
"""

from __future__ import annotations

import socket
from struct import Struct

from btcp.datapath.ebpf.abi import unpack_key
from btcp.handoff.flows import receiver, sender

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_REQUEST_FLAG = 1
_ERROR = 2
_LISTEN = 10

_HEADER = Struct("=IHHII")
_REQUEST = Struct("=BBBxI" + "2s2s16s16sIQ")
"""C{struct inet_diag_req_v2}: family, protocol, extensions, states, and the socket's identity."""

_NO_COOKIE = 2**64 - 1
_STATE_AT = _HEADER.size + 1


def is_gone(key: bytes) -> bool:
    """
    Ask the kernel whether a connection to a listening socket is over.

    The look-up finds the connection, or else the socket that listens at its address.  Only the
    latter proves that the connection is gone: an error may mean that the kernel's module for TCP
    is not loaded.

    @param key: the packed key of the packets that the local TCP sends.
    @return: C{True} if there is no connection, and a socket that listens.
    """
    plain = unpack_key(key)
    local, remote = sender(plain), receiver(plain)
    family = socket.AF_INET if len(local.address) == 4 else socket.AF_INET6
    request = _REQUEST.pack(
        family,
        socket.IPPROTO_TCP,
        0,
        0xFFFFFFFF,
        local.port.to_bytes(2, "big"),
        remote.port.to_bytes(2, "big"),
        local.address.ljust(16, b"\0"),
        remote.address.ljust(16, b"\0"),
        0,
        _NO_COOKIE,
    )
    size = _HEADER.size + len(request)
    asked = _HEADER.pack(size, _SOCK_DIAG_BY_FAMILY, _REQUEST_FLAG, 1, 0) + request
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as asking:
            asking.settimeout(1.0)
            asking.sendto(asked, (0, 0))
            answer = asking.recv(4096)
    except OSError:
        return False
    return _HEADER.unpack_from(answer)[1] != _ERROR and answer[_STATE_AT] == _LISTEN
