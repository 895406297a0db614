# SPDX-License-Identifier: MIT
"""
One TLS handshake with another node, as its peer.
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
    @param context: with our certificate.
    @param node: who should be at the other end.
    @param patience: seconds.
    @return: what is wrong; C{None} if nothing is.
    @raise OSError: the connection broke.
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
            return "it closed the connection: it speaks no TLS, or does not want us"
        except SSL.Error as error:
            return f"TLS: {reason_of(error)}"
    certificate = connection.get_peer_certificate()
    assert certificate is not None  # for mypy: the context wants one
    return misnamed(certificate.to_cryptography(), node)
