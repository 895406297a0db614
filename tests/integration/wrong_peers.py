# SPDX-License-Identifier: MIT
"""
Strangers at a control port that speaks TLS, all at once, each again and again.

C{wrong_peers.py ADDRESS SECONDS COUNT DIRECTORY EPOCH}: certificates are read from files
C{KIND.crt} and C{KIND.key} in the directory; C{good} ones are those of the peer C{b}, which
is in this epoch.  Prints for each kind how often it was tried.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread

from twisted.protocols.amp import AmpBox

from btcp.amp.boxes import serialize
from btcp.control.commands import Hello, Identity
from btcp.handoff.messages import Capabilities
from btcp.lab.topology import CONTROL_PORT

_PAUSE = 0.4
_LONGER_THAN_A_GREETING = 8.0
_CAPABILITIES = Capabilities(mtu=1500, sack=True, timestamps=True, window_scaling=True)

Connection = socket.socket


def hello(node: str, epoch: int) -> bytes:
    """
    What a peer says first.
    """
    identity = Identity(node=node, epoch=epoch, capabilities=_CAPABILITIES)
    box: AmpBox = Hello.makeArguments(identity.arguments(), None)
    return serialize(AmpBox({**box, b"_command": b"Hello", b"_ask": b"1"}))


def slowly(connection: Connection, octets: bytes) -> None:
    """
    An octet at a time, and then nothing, until somebody loses patience.
    """
    for octet in octets:
        connection.sendall(bytes((octet,)))
        time.sleep(0.2)
    read(connection)


def read(connection: Connection) -> None:
    """
    To the end.
    """
    while connection.recv(65536):
        pass


class Strangers:
    """
    @ivar kinds: what each of them does with a connection, by name.
    @ivar tried: how often.
    """

    def __init__(self, address: str, seconds: float, directory: Path, epoch: int) -> None:
        self.tried: Counter[str] = Counter()
        self._address = address
        self._end = time.monotonic() + seconds
        self._directory = directory
        too_large = b"\x00\x04_ask" + (b"\xff\xff" + bytes(65535) + b"\x00\x01x") * 4
        too_many = b"".join(b"\x00\x02%02d\x00\x00" % number for number in range(100))
        own = hello("b", epoch)
        client_hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(400)
        self.kinds: dict[str, Callable[[Connection], None]] = {
            "silent": read,
            "slow handshake": lambda connection: slowly(connection, client_hello),
            "hangs up": lambda connection: connection.sendall(client_hello[:100]),
            "plaintext": lambda connection: self.say(connection, own),
            "plaintext too large": lambda connection: self.say(connection, too_large),
            "garbage": lambda connection: self.say(connection, bytes(range(256)) * 40),
            "garbage in a record": lambda connection: self.say(connection, client_hello * 40),
            "no certificate": self.secured(None, own),
            "wrong authority": self.secured("wrong-authority", own),
            "expired": self.secured("expired", own),
            "not yet valid": self.secured("not-yet-valid", own),
            "wrong name": self.secured("wrong-name", own),
            "speaks as another": self.secured("good", hello("a", epoch)),
            "nobody's name": self.secured("good", hello("\xe4" * 100, epoch)),
            "old TLS": self.secured("good", own, ssl.TLSVersion.TLSv1_2),
            "too large": self.secured("good", too_large),
            "too many keys": self.secured("good", too_many),
            "garbage inside": self.secured("good", bytes(range(256)) * 40),
            "second link": self.secured("good", own),
            "slow Hello": self.secured("good", own, slow=True),
        }

    def say(self, connection: Connection, octets: bytes) -> None:
        """
        All at once, and wait for an answer.
        """
        connection.sendall(octets)
        read(connection)

    def secured(
        self,
        kind: str | None,
        octets: bytes,
        newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
        slow: bool = False,
    ) -> Callable[[Connection], None]:
        """
        Say something by TLS, with this kind of certificate.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.maximum_version = newest
        if kind is not None:
            certificate = self._directory / f"{kind}.crt"
            context.load_cert_chain(certificate, certificate.with_suffix(".key"))

        def talk(connection: Connection) -> None:
            with context.wrap_socket(connection) as wrapped:
                (slowly if slow else self.say)(wrapped, octets)

        return talk

    def repeat(self, kind: str) -> None:
        """
        Do what this kind does until the time is over.
        """
        while time.monotonic() < self._end:
            self.tried[kind] += 1
            with suppress(OSError):  # ssl's errors, too
                with socket.create_connection((self._address, CONTROL_PORT), 5) as connection:
                    connection.settimeout(_LONGER_THAN_A_GREETING)
                    self.kinds[kind](connection)
            time.sleep(_PAUSE)


def main(arguments: list[str]) -> None:
    """
    All kinds in turn, until there are enough.
    """
    address, seconds, count, directory, epoch = arguments
    strangers = Strangers(address, float(seconds), Path(directory), int(epoch))
    kinds = list(strangers.kinds)
    threads = [
        Thread(target=strangers.repeat, args=(kinds[number % len(kinds)],))
        for number in range(int(count))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps(strangers.tried))


if __name__ == "__main__":
    main(sys.argv[1:])
