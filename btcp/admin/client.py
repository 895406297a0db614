# SPDX-License-Identifier: MIT
"""
The asking side: for programs without a reactor, it waits for the answer.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable
from pathlib import Path
from socket import AF_UNIX, SOCK_STREAM, create_connection, socket
from types import TracebackType
from typing import Any

from attrs import frozen
from twisted.protocols import amp

from btcp.admin.protocol import Ask, More, Status
from btcp.amp.boxes import BoxReader, serialize
from btcp.pki.names import DOMAIN, certificate_name

PATIENCE = 30.0
"""Seconds for each piece of an answer, unless the order says that it may take longer."""


class Unreachable(Exception):
    """
    The node does not answer, or is not who it should be; the text says why.
    """


@frozen
class Reply:
    """
    What a node said.

    @ivar value: what its JSON says.
    """

    status: Status
    value: Any


class Connection:
    """
    One connection to a node.  Not for several threads at once.
    """

    def __init__(self, where: str, open: Callable[[], socket]) -> None:
        """
        @param where: the node, in words.
        @param open: makes the connection.
        @raise Unreachable: if it cannot.
        """
        self.where = where
        self._asked = 0
        try:
            self._socket = open()
        except OSError as error:
            raise Unreachable(f"{where}: {_words(error)}") from error
        self._reader = BoxReader()
        self._boxes: list[amp.AmpBox] = []

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """
        Leave.
        """
        self._socket.close()

    def ask(self, line: str, seconds: float = 0.0) -> Reply:
        """
        @param seconds: how long it may take to do that.
        @raise Unreachable: if no answer comes, or none that makes sense.
        """
        try:
            self._socket.settimeout(PATIENCE + seconds)
            box = self._ask(Ask, {"line": line})
            status, text = Status(int(box[b"status"])), bytearray(box[b"text"])
            self._socket.settimeout(PATIENCE)
            while box[b"more"] == b"True":
                box = self._ask(More, {})
                text += box[b"text"]
            return Reply(status, json.loads(text))
        except OSError as error:
            raise Unreachable(f"{self.where}: {_words(error)}") from error
        except (KeyError, ValueError) as error:
            raise Unreachable(f"{self.where}: not an answer that a node gives") from error

    def _ask(self, command: type[amp.Command], values: dict[str, object]) -> amp.AmpBox:
        self._asked += 1
        box = command.makeArguments(values, None)
        box[amp.COMMAND], box[amp.ASK] = command.commandName, b"%d" % self._asked
        self._socket.sendall(serialize(box))
        while not self._boxes:
            octets = self._socket.recv(65_536)
            if not octets:
                raise ConnectionError("the node closed the connection")
            self._boxes += self._reader.receive(octets)
            if self._reader.fault is not None:
                raise ValueError(self._reader.fault)
        return self._boxes.pop(0)


def local(path: str) -> Connection:
    """
    @param path: of a management socket.
    @raise Unreachable: if nobody listens there.
    """

    def open() -> socket:
        connection = socket(AF_UNIX, SOCK_STREAM)
        try:
            connection.settimeout(PATIENCE)
            connection.connect(path)
        except BaseException:
            connection.close()
            raise
        return connection

    return Connection(path, open)


def remote(end: tuple[str, int], files: Path, node: str | None) -> Connection:
    """
    @param end: address and port.
    @param files: the directory that C{btcp ca issue --operator} made.
    @param node: who that must be; L{None}: any node with a certificate of our authority.
    @raise Unreachable: if it does not answer, or does not want us, or is somebody else.
    """
    where = f"{f'node {node} at ' if node else ''}{end[0]} port {end[1]}"

    def open() -> socket:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = node is not None
        context.load_verify_locations(str(files / "ca.crt"))
        context.load_cert_chain(str(files / "operator.crt"), str(files / "operator.key"))
        plain = create_connection(end, PATIENCE)
        name = None if node is None else certificate_name(node)
        secured = context.wrap_socket(plain, server_hostname=name)
        if node is None and not _names_a_node(secured.getpeercert()):
            secured.close()
            raise ConnectionError("its certificate does not name a node")
        return secured

    return Connection(where, open)


def _names_a_node(certificate: Any) -> bool:
    names = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"]
    return any(name.partition(".")[2] == DOMAIN for name in names)


def _words(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not good: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or ""):
        return f"it does not take our certificate ({error.reason})"
    return error.strerror or str(error) or type(error).__name__


def query_now(path: str, what: str) -> object:
    """
    Ask the node that listens on the socket C{path}.

    @param what: as after C{show}, such as C{stats}, C{flows} or C{peers}.
    @raise OSError: if nobody listens, or answers in time.
    @raise ValueError: if it will not show that.
    """
    try:
        with local(path) as connection:
            reply = connection.ask(f"show {what}")
    except Unreachable as error:
        raise ConnectionError(str(error)) from error
    if reply.status is not Status.DONE:
        raise ValueError(f"{path} does not show {what}: {reply.value['error']}")
    shown: object = reply.value
    return shown
