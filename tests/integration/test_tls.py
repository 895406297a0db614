# SPDX-License-Identifier: MIT
"""
Connections that begin with a ClientHello: the name in it decides, and the origin that has its
key answers straight to the client.
"""

from __future__ import annotations

import atexit
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from btcp.lab import origin
from btcp.lab.topology import CLIENT, LISTEN_PORT, ORIGIN_PORT, ROUTER, addresses, url
from tests.certificates import Certificates
from tests.claims.packets import HEADERS, MODULUS, Seen, read
from tests.integration.standing import ClusterTestCase
from tests.modes import in_every_mode

_PORT, _ORIGIN = 443, 8443
_NODES = "abc"
_FRONT = "a"


def _name(node: str) -> str:
    """
    For which L{Certificates} gives a node a certificate.
    """
    return f"{node}.btcp.internal"


_NAME = _name("b")

_KEPT = ExitStack()
atexit.register(_KEPT.close)
_AUTHORITY = Certificates(Path(_KEPT.enter_context(TemporaryDirectory())) / "authority").directory

_SERVER = f"""
    server {{
        listen %(v4)s:{_ORIGIN} ssl;
        listen [%(v6)s]:{_ORIGIN} ssl;
        ssl_certificate {_AUTHORITY}/%(node)s/node.crt;
        ssl_certificate_key {_AUTHORITY}/%(node)s/node.key;
        ssl_protocols TLSv1.2 TLSv1.3;
        root %(home)s/www;
        add_header X-Node %(node)s always;
    }}
"""

_CONFIG: Mapping[str, object] = {
    "listeners": {
        "web": {"port": LISTEN_PORT, "origin": ORIGIN_PORT},
        "secure": {
            "port": _PORT,
            "origin": _ORIGIN,
            "content": "tls",
            # A node that the check finds ill gets no connection.
            "health": {"kind": "handoff", "client": addresses(ROUTER)[0], "interval": 0.5},
        },
    },
    "partition": [
        *({"host": _name(node), "path": "/", "nodes": [node]} for node in _NODES),
        {"host": "record.example", "path": "/", "nodes": ["c"]},
        {"path": "/b/", "nodes": ["b"]},  # of no ClientHello: nobody sees its path
    ],
    "log": {"format": "json"},
}

# A ClientHello in pieces, each in a segment of its own; prints the alert that answers, or
# "hello" for a ServerHello.
_PIECES = """
import socket, ssl, sys, time
address, name, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.set_alpn_protocols(["http/1.1", *(f"{number:0200}" for number in range(8))])
incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
client = context.wrap_bio(incoming, outgoing, server_hostname=name)
try:
    client.do_handshake()
except ssl.SSLWantReadError:
    pass
hello = outgoing.read()
connection = socket.create_connection((address, 443), 5)
connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
for at in range(0, len(hello), size):
    connection.sendall(hello[at : at + size])
    time.sleep(0.005)
while True:
    incoming.write(connection.recv(65536))
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        continue
    except ssl.SSLError as error:
        print(error.reason)
        break
    print("hello")
    break
"""

_PLAIN = """
import socket, sys
connection = socket.create_connection((sys.argv[1], 443), 5)
connection.sendall(b"GET / HTTP/1.1\\r\\nHost: b.btcp.internal\\r\\n\\r\\n")
answer = b""
while some := connection.recv(4096):
    answer += some
print(answer.hex())
"""


@in_every_mode
class TlsTests(ClusterTestCase):
    """
    A listener whose content is C{tls}.
    """

    prefix = "tls"
    config: ClassVar[Mapping[str, object]] = _CONFIG
    origin_config: ClassVar[str] = f"{origin.CONFIG.rstrip().removesuffix('}')}{_SERVER}}}\n"

    def get(
        self, name: str, path: str, *options: str, family: int = 4, front: str = _FRONT
    ) -> tuple[bytes, str]:
        """
        Ask for C{name} at a node, and believe only who has a certificate of that name.

        @return: the body, and what curl says: the node, and its own exit code.
        """
        address = self.lab.address(front, family)
        at = address if family == 4 else f"[{address}]"
        told = ["--cacert", str(_AUTHORITY / "ca.crt"), "--resolve", f"{name}:443:{at}"]
        facts = ["-w", "%{stderr}%header{x-node} %{exitcode}"]
        command = ["curl", "-s", "-m", "20", *told, *facts, *options, f"https://{name}{path}"]
        done = self.lab.exec(CLIENT, command)
        return done.stdout, done.stderr.decode()

    def pieces(self, name: str, size: int) -> str:
        return self.python(_PIECES, self.lab.address(_FRONT, 4), name, size).strip()

    def test_name_decides(self) -> None:
        """
        Each name is answered by the node that holds it, whatever node was asked, with that
        node's certificate.
        """
        for front in "ab":
            for node in _NODES:
                for family in (4, 6):
                    body, said = self.get(_name(node), "/shared/100k", family=family, front=front)
                    self.assertEqual(said, f"{node} 0")
                    self.assertEqual(body, self.lab.content("/shared/100k"))
        self.assert_sound()

    def test_straight_to_the_client(self) -> None:
        """
        Nothing of the answer crosses the front-end: all that it says as the server is its
        SYN/ACK.
        """
        with self.lab.capture(_FRONT, f"tcp src port {_PORT}", outgoing=True) as sent:
            body, said = self.get(_NAME, "/b/10m")
        self.assertEqual((said, body == self.lab.content("/b/10m")), ("b 0", True))
        self.assertEqual([packet.flags for packet in read(sent)], ["SA"])

    def test_loss(self) -> None:
        """
        Of 2 % of all packets, in both directions: a TLS record tells of any octet that is amiss.
        On the wire, each octet of an answer comes from its back-end, in the front-end's name.
        """
        self.lab.loss(2)
        self.addCleanup(self.lab.loss, 0)
        for family in (4, 6):
            for node in _NODES:
                with self.sent(_FRONT, family) as front, self.sent(node, family) as back:
                    body, said = self.get(_name(node), f"/{node}/10m", family=family)
                self.assertEqual((said, len(body)), (f"{node} 0", 10 << 20))
                if node != _FRONT:
                    self.check_sent(list(read(front)), list(read(back)), family)

    def sent(self, node: str, family: int) -> AbstractContextManager[Path]:
        """
        What a node sends to the client in a server's name.
        """
        ports = f"(tcp src port {_PORT} or tcp src port {_ORIGIN})"
        client = f"dst host {self.lab.address(CLIENT, family)}"
        return self.lab.capture(node, f"{ports} and {client}", snaplen=HEADERS, outgoing=True)

    def check_sent(self, front: list[Seen], back: list[Seen], family: int) -> None:
        """
        @param front: what the front-end sent.
        @param back: what the back-end sent.
        """
        server = self.lab.address(_FRONT, family), _PORT
        self.assertEqual({packet.source for packet in (*front, *back)}, {server})
        self.assertEqual([packet for packet in front if packet.length], [])
        (first,) = {(packet.seq + 1) % MODULUS for packet in front if "S" in packet.flags}
        covered = 0
        data = [packet for packet in back if packet.length]
        for start, length in sorted(((each.seq - first) % MODULUS, each.length) for each in data):
            self.assertLessEqual(start, covered)
            covered = max(covered, start + length)
        self.assertGreater(covered, 10 << 20)

    def test_versions(self) -> None:
        for version in ("1.2", "1.3"):
            _, said = self.get(_NAME, "/b/1k", f"--tlsv{version}", "--tls-max", version)
            self.assertEqual(said, "b 0")

    def test_keep_alive(self) -> None:
        """
        The second request goes by the connection of the first, whose name has decided.
        """
        first, connects = f"https://{_NAME}/b/1k", ("-w", "%{stderr}%{num_connects} ")
        bodies, said = self.get(_NAME, "/b/100k", *connects, first)
        self.assertEqual(said, "1 0 ")
        self.assertEqual(bodies, self.lab.content("/b/1k") + self.lab.content("/b/100k"))

    def test_several_segments(self) -> None:
        """
        A ClientHello that no segment holds, however it is cut.
        """
        for size in (100, 517, 1000, 4096):
            self.assertEqual(self.pieces(_NAME, size), "hello")

    def test_nobody_holds_it(self) -> None:
        """
        An alert says so.
        """
        self.assertEqual(self.pieces("nowhere.example", 4096), "TLSV1_UNRECOGNIZED_NAME")
        self.assertEqual(self.moved(_FRONT)["answered.404"], 1)

    def test_no_tls(self) -> None:
        """
        Whatever is no ClientHello is answered by an alert, be it what the other listener hands off.
        """
        answer = self.python(_PLAIN, self.lab.address(_FRONT, 4)).strip()
        self.assertEqual(answer, "15030300020232")
        self.assertEqual(self.moved(_FRONT)["answered.400"], 1)

    def test_record(self) -> None:
        """
        The log names what was asked for.
        """
        name = "record.example"
        self.get(name, "/c/1k", "-k")
        self.await_that(lambda: len(self.records(name)) == 2, 5, lambda: self.logged(_FRONT))
        decision, end = self.records(name)
        for record in (decision, end):
            self.assertEqual(record["listener"], "secure")
            self.assertEqual((record["rule"], record["node"]), (f"{name}/", "c"))
            self.assertNotIn("path", record)
        self.assertEqual((decision["event"], end["event"]), ("handed-off", "ended"))
        self.assertEqual(end["reason"], "closed")
        self.assertGreater(end["octets_out"], 1024)

    def records(self, name: str) -> list[dict[str, Any]]:
        """
        What the front-end has logged of connections that asked for a name.
        """
        lines = map(json.loads, self.logged(_FRONT).splitlines())
        return [line for line in lines if line.get("sni") == name]

    def test_both_contents(self) -> None:
        """
        The other listener goes on as ever.
        """
        told = ["curl", "-s", "-m", "20", "-H", f"Host: {_NAME}", url(_FRONT, 4, "/b/1k")]
        self.assertEqual(self.lab.exec(CLIENT, told).stdout, self.lab.content("/b/1k"))
