# SPDX-License-Identifier: MIT
"""
Ending what a lab started, and nothing else.

A process is a lab's own when it runs in one of the lab's namespaces I{and} it, or the
leader of its session, is recorded in a pid file: an nginx worker outlives its master,
but not the session that the master opened.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from attrs import frozen

# how often to look for processes that there were not before; each look ends a generation
_LOOKS = 10


@frozen
class Recorded:
    """
    The processes that are provably a lab's own.

    @ivar pids: what its pid files say.
    @ivar namespaces: inode numbers of its network namespaces.
    """

    pids: Collection[int]
    namespaces: Collection[int]

    def __contains__(self, pid: object) -> bool:
        try:
            namespace = os.stat(f"/proc/{pid}/ns/net").st_ino
            leader = _session(Path(f"/proc/{pid}/stat").read_text())
        except OSError:  # it has ended
            return False
        return namespace in self.namespaces and (pid in self.pids or leader in self.pids)

    def __iter__(self) -> Iterator[int]:
        return (pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if pid in self)


def recorded(pid_files: Iterable[Path], namespaces: Iterable[Path]) -> Recorded:
    """
    @param pid_files: those that are absent or hold no number are passed over.
    @param namespaces: such as C{/run/netns/btcp-a}; those that are absent are passed over.
    """
    pids = [pid for path in pid_files if (pid := read_pid(path)) is not None]
    return Recorded(pids, [path.stat().st_ino for path in namespaces if path.exists()])


def read_pid(path: Path) -> int | None:
    """
    The number in a pid file.
    """
    try:
        return int(path.read_text())
    except (FileNotFoundError, ValueError):
        return None


def end(processes: Recorded, first: int = signal.SIGTERM, patience: float = 5.0) -> list[int]:
    """
    Signal the processes, wait until they have ended, and kill those that have not.

    @param first: the signal to begin with.
    @param patience: seconds to wait before C{SIGKILL}, and again after it.
    @return: the pids of those that only C{SIGKILL} ended.
    """
    killed: list[int] = []
    # One may have started another after the look and before the signal: look again.
    for _ in range(_LOOKS):
        grips = dict(_grips(processes))
        try:
            stubborn = _signal(grips, first, patience)
            _signal(stubborn, signal.SIGKILL, patience)
        finally:
            for grip in grips.values():
                os.close(grip)
        killed += stubborn
        if not grips:
            break
    return killed


def await_entry(pid: int, namespace: Path) -> None:
    """
    Wait until a process has entered a network namespace, or ended.
    """
    goal = namespace.stat().st_ino
    try:
        while os.stat(f"/proc/{pid}/ns/net").st_ino != goal:
            time.sleep(0.0005)
    except OSError:  # a zombie is in no namespace
        return


def _grips(processes: Recorded) -> Iterator[tuple[int, int]]:
    """
    A pidfd for each process, so that no signal can reach a later owner of its number.
    """
    for pid in processes:
        try:
            grip = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        if pid in processes:
            yield pid, grip
        else:
            os.close(grip)


def _signal(grips: dict[int, int], number: int, patience: float) -> dict[int, int]:
    """
    @return: those that have not ended in time.
    """
    for grip in grips.values():
        try:
            signal.pidfd_send_signal(grip, number)
        except ProcessLookupError:
            pass
    waiting = dict(grips)
    deadline = time.monotonic() + patience
    while waiting and (left := deadline - time.monotonic()) > 0:
        poll = select.poll()
        for grip in waiting.values():
            poll.register(grip, select.POLLIN)
        ended = {grip for grip, _ in poll.poll(left * 1000)}
        waiting = {pid: grip for pid, grip in waiting.items() if grip not in ended}
    return waiting


def _session(stat: str) -> int:
    """
    The session in C{/proc/PID/stat}, whose second field may hold blanks and brackets.
    """
    return int(stat.rpartition(")")[2].split()[3])
