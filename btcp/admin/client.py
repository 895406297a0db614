# SPDX-License-Identifier: MIT
"""
Blocking client of the management interface, for programs without a reactor.
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
"""Seconds to wait for each piece of an answer, in addition to what a command may wait."""


class Unreachable(Exception):
    """
    A node that does not answer or cannot be authenticated; the text is the reason.
    """


@frozen
class Reply:
    """
    A node's answer to a command.

    @ivar value: the decoded JSON.
    """

    status: Status
    value: Any


class Connection:
    """
    A connection to a node.  Not thread-safe.

    @ivar where: the node, as text for messages.
    """

    def __init__(self, where: str, open: Callable[[], socket]) -> None:
        """
        @param where: the node, as text for messages.
        @param open: connects to the node and returns the socket.
        @raise Unreachable: if it cannot connect.
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
        Close the connection.
        """
        self._socket.close()

    def ask(self, line: str, seconds: float = 0.0) -> Reply:
        """
        Send a command and wait for the whole answer.

        @param line: the command.
        @param seconds: the time that the command itself may take.
        @raise Unreachable: if there is no answer in time, or an invalid one.
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
            raise Unreachable(f"{self.where}: invalid answer") from error

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
    Connect to the management socket of a node on this host.

    @param path: the socket's path.
    @raise Unreachable: if no daemon listens on it.
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
    Connect to the management port of a node over TLS.

    @param end: address and port.
    @param files: the directory that C{btcp ca issue --operator} made.
    @param node: the name that the node's certificate must have; L{None} accepts any node of the
        same authority.
    @raise Unreachable: if the node does not answer, refuses the operator's certificate, or has
        the wrong certificate.
    """
    where = f"{f'node {node} at ' if node else ''}{end[0]} port {end[1]}"

    def open() -> socket:
        check_files(files)
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


def check_files(directory: Path) -> None:
    """
    Check that an operator's files are there, and that the key is not readable by everybody.

    @raise ConnectionError: with the path, and what to do.
    """
    for name in ("ca.crt", "operator.crt", "operator.key"):
        if not (directory / name).is_file():
            raise ConnectionError(
                f"{directory / name} is missing; copy there what btcp ca issue --operator made,"
                " or name its directory with --certificate"
            )
    key = directory / "operator.key"
    # Its group may read it, as with a node's key.
    if key.stat().st_mode & 0o037:
        raise ConnectionError(f"{key} is open to others: chmod 0600 {key}")


def _names_a_node(certificate: Any) -> bool:
    names = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"]
    return any(name.partition(".")[2] == DOMAIN for name in names)


def _words(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or ""):
        return f"it refuses the operator's certificate ({error.reason})"
    return error.strerror or str(error) or type(error).__name__


def query_now(path: str, what: str) -> object:
    """
    Run a C{show} command at the node that listens on a management socket.

    @param path: the socket's path.
    @param what: the words after C{show}, such as C{stats}, C{flows} or C{peers}.
    @return: the decoded JSON of the answer.
    @raise OSError: if no daemon listens or it does not answer in time.
    @raise ValueError: if the node refuses the command.
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
