# SPDX-License-Identifier: MIT
"""
The labs that the systems stand in.

The peers share one lab; each mode of BTCP has one of its own, built alike, because its programs
on the nodes' devices would cost the others something.  All stand during the whole of a work,
and those that are not being measured do nothing.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from attrs import define, field

from btcp.lab.cluster import Lab
from btcp.lab.programs import LabError, run
from btcp.lab.topology import CLIENT, ROUTER
from tests.bench.systems import FRONT, ORIGIN, System

_PATIENCE = 10.0
_POLL = 0.1
_LINES = 5000
"""Of a log."""

SYSCTLS = (
    "net.core.somaxconn=4096",
    "net.ipv4.tcp_max_syn_backlog=8192",
    "net.ipv4.ip_local_port_range=10000 65535",
    "net.ipv4.tcp_tw_reuse=1",
    "net.ipv4.tcp_syncookies=1",
)
"""On every host of every lab alike: room in the queues, and ports that wait may be used again."""


@define
class Stage:
    """
    @ivar prefix: of the labs' names.
    @ivar extra: keys for every configuration of BTCP.
    @ivar origin: the configuration of the origins.
    """

    prefix: str
    systems: Sequence[System]
    extra: Mapping[str, object] = field(factory=dict)
    origin: str = ORIGIN
    _labs: dict[str, Lab] = field(factory=dict, init=False)
    _proxies: dict[str, subprocess.Popen[bytes]] = field(factory=dict, init=False)

    @contextmanager
    def standing(self) -> Iterator[Stage]:
        """
        All systems, while the body runs.

        @raise LabError: one of them cannot.
        """
        try:
            self._build()
            for system in self.systems:
                self._check(system)
            yield self
        finally:
            for lab in {id(lab): lab for lab in self._labs.values()}.values():
                lab.down()
            for process in self._proxies.values():
                process.wait()

    def lab(self, system: System) -> Lab:
        """
        @return: where the system stands.
        """
        return self._labs[system.name]

    def front_pids(self, system: System) -> list[int]:
        """
        @return: the processes that make L{FRONT} a front-end; empty if there is none.
        """
        if system.config is not None:
            pid = self.lab(system).daemon_pid(FRONT)
            return [] if pid is None else [pid]
        proxy = self._proxies.get(system.name)
        return [] if proxy is None else [proxy.pid, *_children(proxy.pid)]

    def keep_logs(self, system: System, directory: Path) -> None:
        """
        Leave what BTCP's nodes logged last, and their counters, for who wants to know why.
        """
        if system.config is None:
            return
        directory.mkdir(parents=True, exist_ok=True)
        lab = self.lab(system)
        for node in lab.nodes:
            (directory / f"{node}.log").write_text(lab.log(node, _LINES))
            try:
                stats = lab.query(node, "stats")
            except LabError as problem:
                stats = {"problem": str(problem)}
            (directory / f"{node}.json").write_text(json.dumps(stats, indent=1))

    def _build(self) -> None:
        shared: Lab | None = None
        for number, system in enumerate(self.systems):
            if system.config is not None:
                config = {**self.extra, **system.config}
                name = f"{self.prefix}{number}"
                self._up(system, Lab(name, config=config, tls=True, origin_config=self.origin))
            elif shared is None:
                shared = Lab(f"{self.prefix}0", origin_config=self.origin)
                self._up(system, shared)
            else:
                self._labs[system.name] = shared
            if system.command:
                self._start_proxy(system)

    def _up(self, system: System, lab: Lab) -> None:
        self._labs[system.name] = lab
        lab.up(daemons=False)
        for host in (CLIENT, ROUTER, *lab.nodes):
            run(lab.command(host, ["sysctl", "-q", *SYSCTLS]))
        if system.config is not None:
            lab.start_daemon(*lab.nodes)

    def _start_proxy(self, system: System) -> None:
        lab = self.lab(system)
        home = lab.home(FRONT)
        place = ["-p", str(home), "-e", str(home / "proxy-error.log")]
        command = [*system.command, *(place if system.command[0] == "nginx" else [])]
        with (home / f"{system.name}.log").open("wb") as log:
            self._proxies[system.name] = lab.popen(FRONT, command, stdout=log, stderr=log)

    def _check(self, system: System) -> None:
        """
        Wait until the system answers, and rightly.
        """
        deadline = time.monotonic() + _PATIENCE
        address, port, path = system.target("b", "1k")
        command = ["curl", "-sS", "-m", "2", f"http://{address}:{port}{path}"]
        lab = self.lab(system)
        while (done := lab.exec(CLIENT, command)).stdout != lab.content(path):
            if time.monotonic() > deadline:
                said = done.stderr.decode(errors="replace").strip()
                raise LabError(f"{system.name} does not answer: {said}\n{self._log(system)}")
            time.sleep(_POLL)

    def _log(self, system: System) -> str:
        path = self.lab(system).home(FRONT) / f"{system.name}.log"
        return path.read_text() if path.exists() else self.lab(system).log(FRONT)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
