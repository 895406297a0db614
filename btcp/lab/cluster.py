# SPDX-License-Identifier: MIT
"""
A whole cluster on one machine: client, router and nodes in network namespaces.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from attrs import define, field

import btcp
from btcp.admin.client import query_now
from btcp.admin.protocol import SOCKET
from btcp.lab import distance, network, origin, processes, topology
from btcp.lab.capture import capture
from btcp.lab.network import Network
from btcp.lab.programs import ENVIRONMENT, NO_ROOT, LabError, missing
from btcp.pki import authority

STATE = Path("/run/btcp-lab")
# The daemons must run the very code that this process runs.
_CODE = str(Path(btcp.__file__).resolve().parent.parent)
_DAEMON_PATIENCE = 20.0
_LEAST_QUEUE = 256 << 10
"""Octets."""


def _valid(_lab: object, _attribute: object, prefix: str) -> None:
    if not (prefix.isascii() and prefix.isalnum() and prefix.islower()):
        raise LabError(f"{prefix!r} is no prefix: small letters and digits only")


def _no_environment(_node: str) -> Mapping[str, str]:
    return {}


def _names(nodes: Iterable[str]) -> tuple[str, ...]:
    return tuple(nodes)


@define
class Lab:
    """
    A cluster that can be brought up, used and taken down.  Its methods block.

    Nothing outside is touched but namespaces C{PREFIX-HOST} and the directory
    C{/run/btcp-lab/PREFIX}; labs with different prefixes stand side by side, on the same
    addresses.

    @ivar prefix: small letters and digits.
    @ivar nodes: the nodes' names, a letter of L{topology.NODES} each.
    @ivar config: top-level keys for every C{node.yaml}, see L{topology.node_yaml}.
    @ivar tls: protect the control channel, with an authority of the lab's own.
    @ivar origin_config: of every origin, see L{origin.CONFIG}.
    @ivar environment: variables that a node's daemon gets beside those of this process.
    @ivar delay: see L{distance}.
    """

    prefix: str = field(default="btcp", validator=_valid)
    nodes: tuple[str, ...] = field(default="abc", converter=_names)
    config: Mapping[str, object] = field(factory=dict)
    tls: bool = False
    origin_config: str = origin.CONFIG
    environment: Callable[[str], Mapping[str, str]] = _no_environment
    delay: float = 0.0
    _captures: Iterator[int] = field(factory=itertools.count, init=False)

    @classmethod
    def standing(cls, prefix: str = "btcp") -> Lab:
        """
        The lab with this prefix as it stands, with the nodes it was brought up with.

        @raise LabError: none does.
        """
        hosts = cls(prefix).network.standing()
        if not hosts:
            raise LabError(f"no lab stands with prefix {prefix!r}: btcp lab up")
        nodes = [host for host in hosts if host in topology.NODES]
        return cls(prefix, nodes, tls=cls(prefix).authority.exists())

    @property
    def network(self) -> Network:
        """
        The lab's namespaces.
        """
        return Network(self.prefix, self.nodes)

    @property
    def state(self) -> Path:
        """
        The lab's directory, gone when it is down.
        """
        return STATE / self.prefix

    @property
    def authority(self) -> Path:
        """
        What C{btcp ca init} made, if the lab has TLS.
        """
        return self.state / "authority"

    def home(self, node: str) -> Path:
        """
        The node's directory: configurations, logs, pid files, management socket.
        """
        return self.state / node

    def address(self, host: str, family: int) -> str:
        """
        @param family: 4 or 6.
        """
        v4, v6 = topology.addresses(host)
        return v4 if family == 4 else v6

    def content(self, path: str) -> bytes:
        """
        What the nodes that hold it answer to a request for a path, such as C{/a/1k}.
        """
        return (self.state / "content" / path.lstrip("/")).read_bytes()

    def up(self, daemons: bool = True) -> None:
        """
        Bring the lab up, after taking down what may be left of an earlier one.

        @param daemons: start C{twistd btcp} on each node; else there are origins only.
        @raise LabError: what is missing, or what went wrong; then nothing is left standing.
        """
        lacks = missing(daemons)
        if lacks:
            raise LabError("\n".join(lacks))
        self.down()
        try:
            self._build()
            if self.delay:
                self.distance(self.delay)
            if daemons:
                self.start_daemon(*self.nodes)
        except BaseException:
            self.down()
            raise

    def down(self) -> None:
        """
        End the lab's processes, delete its namespaces and its directory.  A lab that
        crashed, or is not there at all, is no error.

        @raise LabError: only root can.
        """
        if os.geteuid() != 0:
            raise LabError(NO_ROOT)
        processes.end(self._recorded(self.state.glob("*/*.pid")))
        self.network.remove()
        shutil.rmtree(self.state, ignore_errors=True)

    def command(self, host: str, command: Sequence[str]) -> list[str]:
        """
        The command line that runs a command on a host, for callers with ways of their own.
        """
        return self.network.inside(host, command)

    def exec(
        self, host: str, command: Sequence[str], *, stdin: bytes = b"", timeout: float = 60
    ) -> subprocess.CompletedProcess[bytes]:
        """
        Run a command on a host to its end.

        @raise subprocess.TimeoutExpired: after C{timeout} seconds; the command was killed.
        """
        process = self.popen(host, command, stdin=subprocess.PIPE)
        try:
            output, errors = process.communicate(stdin, timeout)
        except BaseException:
            self._end(process.pid)
            process.communicate()
            raise
        return subprocess.CompletedProcess(command, process.returncode, output, errors)

    def popen(
        self,
        host: str,
        command: Sequence[str],
        *,
        stdin: int | IO[bytes] = subprocess.DEVNULL,
        stdout: int | IO[bytes] = subprocess.PIPE,
        stderr: int | IO[bytes] = subprocess.PIPE,
    ) -> subprocess.Popen[bytes]:
        """
        Start a command on a host.  L{down} ends it, and what it started in its session.
        """
        process = subprocess.Popen(
            self.command(host, command),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=ENVIRONMENT,
            start_new_session=True,
        )
        (self.state / "commands" / f"{process.pid}.pid").write_text(str(process.pid))
        # Before, L{down} would not know it for the lab's own.
        processes.await_entry(process.pid, self.network.namespace(host))
        return process

    def start_daemon(self, *nodes: str) -> None:
        """
        Start C{twistd btcp} on nodes and wait until each answers and is linked to every
        node where it runs.

        @raise LabError: one is not; the message ends with the tail of its log.
        """
        starting = {node: self._launch(node) for node in nodes}
        for node, process in starting.items():
            said = b"".join(process.communicate()).decode(errors="replace").strip()
            if process.returncode:
                raise LabError(f"twistd btcp does not start on {node}: {said}\n{self.log(node)}")
        self._await_links(nodes)

    def stop_daemon(self, node: str, signal: int = signal.SIGTERM) -> None:
        """
        Stop one node's C{twistd btcp} and wait until it has ended.

        @raise LabError: it was not running, or took no notice of the signal.
        """
        daemon = self._recorded([self.home(node) / "twistd.pid"])
        if not list(daemon):
            raise LabError(f"twistd btcp is not running on {node}")
        if processes.end(daemon, signal):
            raise LabError(f"twistd btcp on {node} had to be killed\n{self.log(node)}")

    def daemon_pid(self, node: str) -> int | None:
        """
        @return: the pid of the node's C{twistd btcp}, if it runs.
        """
        return self._running(node, "twistd.pid")

    def origin_pid(self, node: str) -> int | None:
        """
        @return: the pid of the node's nginx, if it runs.
        """
        return self._running(node, "nginx.pid")

    def log(self, node: str, lines: int = 20) -> str:
        """
        The tail of the log of the node's C{twistd btcp}.
        """
        try:
            text = (self.home(node) / "twistd.log").read_text(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def requests(self, node: str) -> list[origin.Request]:
        """
        What the node's origin has logged, oldest first; a request is logged when its
        answer is complete, which the client may notice a moment earlier.
        """
        return origin.requests(self.home(node))

    def query(self, node: str, what: str) -> dict[str, Any]:
        """
        Ask a node's management socket.

        @param what: C{stats}, C{flows} or C{peers}.
        @raise LabError: it does not answer.
        """
        try:
            answer = query_now(str(self.home(node) / SOCKET), what)
        except (OSError, ValueError) as problem:
            raise LabError(f"node {node} does not answer: {problem}") from problem
        assert isinstance(answer, dict)
        return answer

    def loss(self, percent: float) -> None:
        """
        Lose TCP packets between client and nodes at random, in each direction alike.

        @param percent: 0-100, in steps of 0.01; 0 ends it.
        """
        self.network.lose(percent)

    def distance(self, delay: float, *, rate: float = 0.0, loss: float = 0.0) -> None:
        """
        Move the client away from the nodes, which stay close to each other.

        @param delay: seconds that it adds to the round-trip time, half of them in each direction;
            0, with no rate, ends it.
        @param rate: octets per second in each direction; 0 for no limit.  What waits for its
            transmission is bounded by what fits into the delay, but 256 kB at least.
        @param loss: as of L{Network.lose}, of packets that are no larger than the MTU.
        @raise LabError: a value is out of range.
        """
        if delay < 0 or rate < 0:
            raise LabError("a delay or a rate cannot be negative")
        records = list((self.state / "distance").glob("*.pid"))
        processes.end(self._recorded(records))
        for each in records:
            each.unlink()
        if delay or rate:
            for device in (network.OUTWARD, network.INWARD):
                self._delay(device, delay / 2, rate, whole=not rate and not loss)
            self.network.detour()
        self.loss(loss)

    def _delay(self, device: str, delay: float, rate: float, whole: bool) -> None:
        most = max(int(rate * delay * 2), _LEAST_QUEUE) if rate else distance.MOST_HELD
        options = ["--delay", str(delay), "--rate", str(rate), "--most", str(most)]
        program = [sys.executable, "-m", distance.__name__, device, *options]
        process = self.popen(
            topology.ROUTER,
            ["env", f"PYTHONPATH={_CODE}", *program, *["--whole"] * whole],
        )
        (self.state / "distance" / f"{device}.pid").write_text(str(process.pid))
        assert process.stdout is not None and process.stderr is not None
        if process.stdout.readline() != b"ready\n":
            raise LabError(f"cannot delay packets: {process.stderr.read().decode().strip()}")

    def offload(self, segmentation: bool, checksums: bool = True) -> None:
        """
        Let or forbid all devices to segment and to checksum; see L{Network.offload}.
        """
        self.network.offload(segmentation, checksums)

    def capture(
        self,
        host: str,
        filter: str = "",
        *,
        device: str = "eth0",
        snaplen: int = 262144,
        outgoing: bool = False,
        path: Path | None = None,
    ) -> AbstractContextManager[Path]:
        """
        Record a host's packets while the body of a C{with} runs; gives the pcap file's path.

        @param path: ends in C{.pcap}; unless given it is in the lab's directory, and so
            vanishes with the lab.
        @see: L{btcp.lab.capture.capture}
        """

        def popen(command: Sequence[str]) -> subprocess.Popen[bytes]:
            return self.popen(host, command)

        chosen = path or self.state / "captures" / f"{host}-{next(self._captures)}.pcap"
        return capture(popen, chosen, filter, device, snaplen, outgoing)

    def _build(self) -> None:
        for name in (*self.nodes, "commands", "captures", "distance"):
            (self.state / name).mkdir(parents=True)
        self.network.build()
        if self.tls:
            now = datetime.now(UTC)
            authority.create(self.authority, authority.AUTHORITY_DAYS, now)
            for node in self.nodes:
                authority.issue(self.authority, node, authority.NODE_DAYS, now)
        content = self.state / "content"
        origin.write_content(content, self.nodes)
        for node in self.nodes:
            origin.start(self.network, node, self.home(node), content, self.origin_config)

    def configure(self, node: str) -> Path:
        """
        Write a node's configuration, as it is before the node is started.

        @return: the file.
        """
        path = self.home(node) / "node.yaml"
        settings = self._protection(node) | dict(self.config)
        path.write_text(topology.node_yaml(node, self.home(node), self.nodes, settings))
        return path

    def _launch(self, node: str) -> subprocess.Popen[bytes]:
        """
        @return: what ends as soon as the daemon has started, or failed to.
        """
        if self.daemon_pid(node) is not None:
            raise LabError(f"twistd btcp is already running on {node}")
        home = self.home(node)
        (home / "twistd.pid").unlink(missing_ok=True)
        (home / "btcp.sock").unlink(missing_ok=True)
        config = self.configure(node)
        twistd = [str(Path(sys.executable).with_name("twistd")), "--rundir", str(home)]
        files = ["--pidfile", str(home / "twistd.pid"), "--logfile", str(home / "twistd.log")]
        command = [*twistd, *files, "btcp", "-c", str(config), "--node", node]
        variables = {"PYTHONPATH": _CODE, **self.environment(node)}
        settings = [f"{name}={value}" for name, value in variables.items()]
        return self.popen(node, ["env", *settings, *command])

    def _protection(self, node: str) -> dict[str, object]:
        if not self.tls:
            return {}
        files = {"certificate": "node.crt", "key": "node.key", "authority": "ca.crt"}
        return {"control": {key: str(self.authority / node / name) for key, name in files.items()}}

    def _await_links(self, nodes: Sequence[str]) -> None:
        deadline = time.monotonic() + _DAEMON_PATIENCE
        while not all(linked := list(map(self._linked, nodes))):
            if time.monotonic() > deadline:
                node = nodes[linked.index(False)]
                raise LabError(f"node {node} is not ready in time\n{self.log(node)}")
            time.sleep(0.05)

    def _linked(self, node: str) -> bool:
        if not (self.home(node) / "btcp.sock").exists():
            return False
        running = {name for name in self.nodes if self.daemon_pid(name) is not None}
        try:
            peers = self.query(node, "peers")["peers"]
        except LabError:
            return False
        return running - {node} <= {peer["node"] for peer in peers if peer["state"] == "up"}

    def _running(self, node: str, pid_file: str) -> int | None:
        path = self.home(node) / pid_file
        pid = processes.read_pid(path)
        return pid if pid in self._recorded([path]) else None

    def _recorded(self, pid_files: Iterable[Path]) -> processes.Recorded:
        namespaces = map(self.network.namespace, self.network.standing())
        return processes.recorded(pid_files, namespaces)

    def _end(self, pid: int) -> None:
        processes.end(self._recorded([self.state / "commands" / f"{pid}.pid"]), signal.SIGKILL)
