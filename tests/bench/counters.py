# SPDX-License-Identifier: MIT
"""
What the machine and the front-end have used and moved so far.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

from attrs import frozen

_TICK = 1e6 / os.sysconf("SC_CLK_TCK")
"""Microseconds."""


@frozen
class Traffic:
    """
    Of one device.
    """

    octets_in: int
    packets_in: int
    octets_out: int
    packets_out: int


@frozen
class Counters:
    """
    @ivar machine: microseconds that all processors worked.
    @ivar front: microseconds that the front-end's processes worked.  What the kernel does
        for them in interrupts is nobody's, and so not in it.
    @ivar traffic: of the front-end's device.
    """

    machine: float
    front: float
    traffic: Traffic


def read(front_pids: Iterable[int], inside: int) -> Counters:
    """
    @param inside: a process on the front-end.
    """
    with open("/proc/stat") as stat:
        machine = machine_time(stat.readline())
    front = 0.0
    for pid in front_pids:
        with open(f"/proc/{pid}/stat") as stat:
            front += process_time(stat.read())
    with open(f"/proc/{inside}/net/dev") as devices:
        return Counters(machine, front, traffic(devices.read(), "eth0"))


def machine_time(line: str) -> float:
    """
    @param line: the first of C{/proc/stat}, see proc(5).
    @return: microseconds.
    """
    user, nice, system, _idle, _iowait, irq, softirq, *_ = map(int, line.split()[1:])
    return (user + nice + system + irq + softirq) * _TICK


def busy(seconds: float) -> float:
    """
    Look on for a while.

    @return: the part of all processors' time that somebody worked, 0-1.
    """
    with open("/proc/stat") as stat:
        before = machine_time(stat.readline())
    time.sleep(seconds)
    with open("/proc/stat") as stat:
        worked = machine_time(stat.readline()) - before
    return worked / (seconds * 1e6 * (os.cpu_count() or 1))


def process_time(stat: str) -> float:
    """
    @param stat: C{/proc/PID/stat}, whose second field may hold blanks and brackets.
    @return: microseconds.
    """
    return sum(process_times(stat))


def process_times(stat: str) -> tuple[float, float]:
    """
    @param stat: as L{process_time}.
    @return: microseconds in user and in system mode.
    """
    fields = stat.rpartition(")")[2].split()
    return int(fields[11]) * _TICK, int(fields[12]) * _TICK


def traffic(devices: str, device: str) -> Traffic:
    """
    @param devices: C{/proc/PID/net/dev}.
    """
    for line in devices.splitlines():
        name, _, rest = line.partition(":")
        if name.strip() == device:
            numbers = list(map(int, rest.split()))
            return Traffic(numbers[0], numbers[1], numbers[8], numbers[9])
    raise ValueError(f"no device {device}")
