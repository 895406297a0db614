# SPDX-License-Identifier: MIT
"""
Test of a TLS handshake with another node.
"""

from __future__ import annotations

import select
import time
from socket import socket

from OpenSSL import SSL

from btcp.pki.names import misnamed
from btcp.pki.trust import reason_of


def problem(connected: socket, context: SSL.Context, node: str, patience: float) -> str | None:
    """
    Perform a TLS handshake as a peer would, and verify the other node's name.

    @param connected: a connected TCP socket.
    @param context: a context with this node's certificate.
    @param node: the name of the node that should answer.
    @param patience: seconds that the handshake may take.
    @return: the problem; C{None} if there is none.
    @raise OSError: if the connection breaks.
    """
    connected.setblocking(False)
    connection = SSL.Connection(context, connected)
    connection.set_connect_state()
    deadline = time.monotonic() + patience
    while True:
        try:
            connection.do_handshake()
            break
        except (SSL.WantReadError, SSL.WantWriteError):
            left = deadline - time.monotonic()
            if left <= 0:
                return "no answer to the TLS handshake"
            select.select([connected], [], [], left)
        except SSL.SysCallError:
            return "it closed the connection: it does not speak TLS or refuses this node"
        except SSL.Error as error:
            return f"TLS: {reason_of(error)}"
    certificate = connection.get_peer_certificate()
    assert certificate is not None  # for mypy: the context wants one
    return misnamed(certificate.to_cryptography(), node)
