# SPDX-License-Identifier: MIT
"""
C{btcp lab}: a cluster in network namespaces on one machine.
"""

from __future__ import annotations

import os
import re
from typing import Any, ClassVar

from twisted.python import usage

from btcp.cli.options import Command, Group
from btcp.lab import demo
from btcp.lab.cluster import Lab
from btcp.lab.programs import ENVIRONMENT, LabError
from btcp.lab.status import status

_UNITS = {"ms": 1e-3, "s": 1.0}
_OCTETS = 1_000_000 / 8
"""Per second, of one Mbit/s."""


def _delay(text: str) -> float:
    """
    Parse a duration such as C{30ms}.

    @return: seconds.
    @raise ValueError: if it is not a duration; the text describes a valid one.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s)", text)
    if text == "0":
        return 0.0
    if found is None:
        raise ValueError("a delay is a number with ms or s, such as 30ms")
    return float(found[1]) * _UNITS[found[2]]


def _rate(text: str) -> float:
    """
    Parse a rate in Mbit/s.

    @return: octets per second.
    @raise ValueError: if it is not a rate; the text describes a valid one.
    """
    if not re.fullmatch(r"\d+(?:\.\d+)?", text):
        raise ValueError("a rate is a number of Mbit/s, such as 100")
    return float(text) * _OCTETS


def _loss(text: str) -> float:
    """
    Parse a packet loss in per cent.

    @return: per cent, 0 to 100.
    @raise ValueError: if it is not a percentage; the text describes a valid one.
    """
    if not re.fullmatch(r"\d+(?:\.\d+)?", text) or float(text) > 100:
        raise ValueError("a loss is a number of per cent, such as 1")
    return float(text)


DISTANCE: list[list[Any]] = [
    ["delay", "d", 0.0, "Adds to the client's round-trip time, such as 30ms.", _delay],
    ["rate", "r", 0.0, "Mbit/s between client and nodes, in each direction.", _rate],
    ["loss", "l", 0.0, "Per cent of the packets that are lost, in each direction.", _loss],
]


class LabCommand(Command):
    """
    Base of the commands that operate on a lab.
    """

    problems = (LabError,)

    optParameters: ClassVar = [["prefix", "p", "btcp", "Distinguishes labs on one machine."]]


class Up(LabCommand):
    """
    Start a lab and leave it running.
    """

    optFlags: ClassVar = [
        ["no-daemons", "o", "Start the origins only."],
        ["tls", "t", "Encrypt and authenticate the control channel."],
    ]
    optParameters: ClassVar[list[list[Any]]] = [
        ["nodes", "n", "abc", "The nodes, a letter each."],
        *DISTANCE,
    ]

    def run(self) -> int:
        lab = Lab(self["prefix"], self["nodes"], tls=bool(self["tls"]))
        lab.up(daemons=not self["no-daemons"])
        lab.distance(self["delay"], rate=self["rate"], loss=self["loss"])
        print(status(lab))
        return 0


class Down(LabCommand):
    """
    Stop a lab, also one that is in a broken state.
    """

    def run(self) -> int:
        Lab(self["prefix"]).down()
        return 0


class Status(LabCommand):
    """
    Show a lab's hosts, processes and counters.
    """

    def run(self) -> int:
        print(status(Lab.standing(self["prefix"])))
        return 0


class Exec(LabCommand):
    """
    Run a command on a host of a lab and exit with its status.
    """

    synopsis = "[--prefix PREFIX] HOST COMMAND..."

    def parseArgs(self, host: str = "", *command: str) -> None:
        if not command:
            raise usage.UsageError("want a host and a command")
        self["host"], self["command"] = host, command

    def run(self) -> int:
        command = Lab.standing(self["prefix"]).command(self["host"], self["command"])
        os.execvpe(command[0], command, ENVIRONMENT)


class Demo(Command):
    """
    Demonstrate handoffs in a separate lab.
    """

    problems = (LabError,)

    optFlags: ClassVar = [["keep", "k", "Leave the lab running."]]
    optParameters: ClassVar = DISTANCE

    def run(self) -> int:
        far = {"delay": self["delay"], "rate": self["rate"], "loss": self["loss"]}
        return demo.run(keep=bool(self["keep"]), **far)


class Labs(Group):
    """
    A cluster on this one machine, in network namespaces.
    """

    subCommands = [
        ("up", None, Up, "Start a lab."),
        ("down", None, Down, "Stop a lab."),
        ("status", None, Status, "Show hosts, processes and counters."),
        ("exec", None, Exec, "Run a command on a host of a lab."),
        ("demo", None, Demo, "Demonstrate handoffs."),
    ]
