# SPDX-License-Identifier: MIT
"""
A cluster whose control channel is mutual TLS: it works, nobody can read along, and nobody
else gets in.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import copy
from typing import ClassVar

import btcp
from btcp.lab.programs import LabError
from btcp.lab.topology import CLIENT, CONTROL_PORT, url
from tests.certificates import WRONG, Certificates
from tests.integration import wrong_peers
from tests.integration.standing import python
from tests.integration.test_hostile import HostileTestCase

_CONFIG: Mapping[str, object] = {
    "timeouts": {"handshake": 1.0, "established": 3.0, "half-closed": 2.0, "linger": 1.0}
}

_CODE = str(Path(btcp.__file__).parents[1])

_PLAINTEXT = (b"_command", b"_ask", b"_answer", b"Handoff", b"Terminate", b"listener", b"GET /")

_STRANGERS = 50
_WAVE = 8.0
_GREETING = 5.0
_MOST_GROWTH = 3 << 20

_REFUSALS = (
    *(f"control.refused-tls.{kind}" for kind in WRONG),
    "control.refused-tls.no-certificate",
    "control.refused-tls.plaintext",
    "control.refused-tls.handshake",
    "control.refused-tls.unfinished",
    "control.refused-hello",
    "control.malformed",
    "control.silent",
)

_SAY_HELLO = """
import socket, sys
connection = socket.create_connection((sys.argv[1], 7311), 5)
connection.sendall(b"\\0\\4_ask\\0\\0011\\0\\x08_command\\0\\5Hello\\0\\0")
connection.recv(100)
"""


class TrustTests(HostileTestCase):
    config: ClassVar[Mapping[str, object]] = _CONFIG
    prefix: ClassVar[str] = "trust"
    tls: ClassVar[bool] = True

    def fetch_all(self) -> None:
        """
        Through each front-end, over both versions of IP, from each holder.
        """
        for front in self.lab.nodes:
            for family in (4, 6):
                for holder in self.lab.nodes:
                    target = url(front, family, f"/{holder}/1k")
                    command = ["curl", "-sS", "-m", "10", "-w", "%header{x-node}", target]
                    done = self.lab.exec(CLIENT, command)
                    wanted = self.lab.content(f"/{holder}/1k") + holder.encode()
                    self.assertEqual(done.stdout, wanted, done.stderr)

    def links(self, node: str) -> dict[str, tuple[str, int]]:
        """
        State and epoch of each peer.
        """
        peers = self.lab.query(node, "peers")["peers"]
        return {peer["node"]: (peer["state"], peer["epoch"]) for peer in peers}

    def connections(self, node: str) -> int:
        """
        How many TCP connections there are to a node's control port.
        """
        wanted = f"( sport = :{CONTROL_PORT} )"
        shown = self.lab.exec(node, ["ss", "-Htn", "state", "established", wanted])
        return len(shown.stdout.splitlines())

    def files(self) -> Path:
        """
        @return: a directory with certificates of all kinds, as they are for C{b}.
        """
        directory = self.lab.state / "wrong"
        if not directory.exists():
            made = Certificates(self.lab.authority)
            chosen = {kind: made.wrong(kind, "b") for kind in WRONG} | {"good": made.good("b")}
            directory.mkdir()
            for kind, files in chosen.items():
                copy(files.certificate, directory / f"{kind}.crt")
                copy(files.key, directory / f"{kind}.key")
        return directory

    def strangers(self, victim: str, seconds: float) -> Sequence[object]:
        """
        @return: a program, on which host, and its arguments.
        """
        _, epoch = self.links("a")["b"]
        address = self.lab.address(victim, 4)
        return wrong_peers.__file__, "b", address, seconds, _STRANGERS, self.files(), epoch

    def attack(self, victim: str, seconds: float) -> dict[str, int]:
        """
        Fifty strangers at once, from the address of C{b}.

        @return: how often each kind tried.
        """
        program, host, *arguments = self.strangers(victim, seconds)
        said = self.throw(str(program), str(host), *arguments, timeout=seconds + 30)
        tried: dict[str, int] = json.loads(said)
        return tried

    def assert_links_up(self) -> None:
        for node in self.lab.nodes:
            self.assertEqual({state for state, _ in self.links(node).values()}, {"up"})

    def test_requests(self) -> None:
        """
        Every way through the cluster, and nothing of it can be read on the network.
        """
        filter = f"tcp port {CONTROL_PORT}"
        with self.lab.capture("a", filter) as path:
            self.fetch_all()
        captured = path.read_bytes()
        self.assertGreater(len(captured), 5000)
        for word in _PLAINTEXT:
            self.assertNotIn(word, captured)
        moved = self.moved("a")
        self.assertGreater(moved["handoff.sent"], 0)
        self.assertEqual([name for name in moved if name.startswith("control.")], [])
        self.assert_sound()

    def test_capture_would_show_plaintext(self) -> None:
        with self.lab.capture("c", f"tcp port {CONTROL_PORT}") as path:
            self.lab.exec("b", python(_SAY_HELLO, self.lab.address("c", 4)))
        self.assertIn(b"_command", path.read_bytes())
        counter = "control.refused-tls.plaintext"
        self.await_that(lambda: self.moved("c")[counter] == 1, 2, lambda: self.lab.log("c"))

    def test_50_wrong_peers(self) -> None:
        """
        Of every kind, again and again: those who belong here notice nothing, memory stays
        what it was, and every refusal is counted and logged with its reason.
        """
        self.attack("c", _GREETING)
        early = self.memory("c")
        links = {node: self.links(node) for node in self.lab.nodes}
        customer = self.customer("abc", "abc")
        tried = self.attack("c", _WAVE)
        self.assert_served(customer, 50)
        self.assertEqual({node: self.links(node) for node in self.lab.nodes}, links)
        self.assertGreater(min(tried.values()), 1, tried)
        moved = self.moved("c")
        for counter in _REFUSALS:
            self.assertGreater(moved[counter], 0, (counter, moved))
        self.assertEqual(moved["control.crowded"], 0)
        for node in self.lab.nodes:
            self.assertNotIn("lost:", self.logged(node))
        self.await_that(
            lambda: self.connections("c") == 2, _GREETING + 1, lambda: self.connections("c")
        )
        self.assertLess(self.memory("c") - early, _MOST_GROWTH, (early, tried))
        self.assert_sound()

    def test_peer_comes_back_among_wrong_peers(self) -> None:
        """
        A node that starts anew while fifty strangers hold connections is linked at once.
        """
        program, host, *arguments = map(str, self.strangers("c", _WAVE))
        python = ["env", f"PYTHONPATH={_CODE}", sys.executable]
        strangers = self.lab.popen(host, [*python, program, *arguments])
        self.await_that(lambda: self.connections("c") > 10, 10, lambda: self.connections("c"))
        self.lab.stop_daemon("a")
        started = time.monotonic()
        self.lab.start_daemon("a")
        self.assertLess(time.monotonic() - started, _WAVE)
        self.assert_links_up()
        self.assertIsNone(strangers.poll())
        strangers.communicate(timeout=_WAVE + 20)
        self.assert_sound()

    def test_renewal(self) -> None:
        """
        A certificate that is renewed is shown to whoever links anew; the other link stays.
        """
        renew = [sys.executable, "-m", "btcp.cli", "ca", "renew", str(self.lab.authority), "b"]
        done = subprocess.run(renew, capture_output=True, cwd=_CODE)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.lab.stop_daemon("a")
        self.lab.start_daemon("a")
        said = self.logged("b")
        self.assertIn("certificates reloaded for new links", said)
        self.assertNotIn("link to c lost", said)
        self.assert_links_up()
        self.fetch_all()
        self.assert_sound()

    def test_files_that_do_not_fit(self) -> None:
        """
        A daemon that could speak to nobody does not start, and says why in a line.
        """
        key = self.lab.authority / "a" / "node.key"
        good = key.read_bytes()
        self.lab.stop_daemon("a")
        for content, words in (
            (None, f"btcp: {key} can not be read: No such file or directory"),
            (b"nonsense", f"btcp: {key} is not a private key in PEM"),
            ((key.parents[1] / "b" / key.name).read_bytes(), f"btcp: {key} is not the key of "),
        ):
            key.unlink()
            if content is not None:
                key.write_bytes(content)
            error = self.assertRaises(LabError, self.lab.start_daemon, "a")
            self.assertIn(words, str(error))
            self.assertNotIn("Traceback", str(error))
            if content is None:
                key.write_bytes(b"")
        key.write_bytes(good)
        self.lab.start_daemon("a")
        self.assert_links_up()
