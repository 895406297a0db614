# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.datapath.ebpf.socket_diag}, with real sockets on the loopback device.
"""

from __future__ import annotations

import socket
import struct
from ipaddress import ip_address

from twisted.trial.unittest import SynchronousTestCase

from btcp.datapath.ebpf.abi import pack_key
from btcp.datapath.ebpf.socket_diag import is_gone
from btcp.wire.segment import flow_key

_RESETS = struct.pack("ii", 1, 0)


def _packed(ours: socket.socket, theirs: socket.socket) -> bytes:
    """
    The key of what C{ours} sends to C{theirs}.
    """
    (local, local_port), (remote, remote_port) = (each.getsockname()[:2] for each in (ours, theirs))
    packed = ip_address(local).packed, ip_address(remote).packed
    return pack_key(flow_key(packed[0], local_port, packed[1], remote_port))


class GoneTests(SynchronousTestCase):
    """
    A connection on loopback, in IPv4 and IPv6.
    """

    def _each(self) -> list[tuple[socket.socket, socket.socket, socket.socket]]:
        found = []
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            listening = socket.create_server((address, 0), family=family)
            client = socket.create_connection(listening.getsockname()[:2], 5)
            accepted, _ = listening.accept()
            for each in (listening, client, accepted):
                self.addCleanup(each.close)
            found.append((listening, client, accepted))
        return found

    def test_connection_that_is_there(self) -> None:
        for _, client, accepted in self._each():
            self.assertFalse(is_gone(_packed(accepted, client)))

    def test_connection_that_its_client_has_reset(self) -> None:
        """
        The look-up finds the socket that listens.
        """
        for _, client, accepted in self._each():
            key = _packed(accepted, client)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESETS)
            client.close()
            self.assertTrue(is_gone(key))

    def test_nothing_listens_any_more(self) -> None:
        """
        The kernel's answer is the same as without its module for TCP, and proves nothing.
        """
        for listening, client, accepted in self._each():
            key = _packed(accepted, client)
            listening.close()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESETS)
            client.close()
            self.assertFalse(is_gone(key))
