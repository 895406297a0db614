# SPDX-License-Identifier: MIT
"""
C{btcp lab}.
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
    @return: seconds.
    @raise ValueError: it is no duration; the text says what would be.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s)", text)
    if text == "0":
        return 0.0
    if found is None:
        raise ValueError("a delay is a number with ms or s, such as 30ms")
    return float(found[1]) * _UNITS[found[2]]


def _rate(text: str) -> float:
    """
    @return: octets per second.
    @raise ValueError: it is no rate; the text says what would be.
    """
    if not re.fullmatch(r"\d+(?:\.\d+)?", text):
        raise ValueError("a rate is a number of Mbit/s, such as 100")
    return float(text) * _OCTETS


def _loss(text: str) -> float:
    """
    @return: per cent.
    @raise ValueError: it is no share; the text says what would be.
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
    What all commands about a lab have in common.
    """

    problems = (LabError,)

    optParameters: ClassVar = [["prefix", "p", "btcp", "Distinguishes labs on one machine."]]


class Up(LabCommand):
    """
    Bring a lab up and leave it standing.
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
    Take a lab down, also one that crashed.
    """

    def run(self) -> int:
        Lab(self["prefix"]).down()
        return 0


class Status(LabCommand):
    """
    Tell who is in a lab, what runs and what was counted.
    """

    def run(self) -> int:
        print(status(Lab.standing(self["prefix"])))
        return 0


class Exec(LabCommand):
    """
    Run a command on a host of a lab and exit as it does.
    """

    synopsis = "[--prefix PREFIX] HOST COMMAND..."

    def parseArgs(self, host: str = "", *command: str) -> None:
        if not command:
            raise usage.UsageError("say on which host to run which command")
        self["host"], self["command"] = host, command

    def run(self) -> int:
        command = Lab.standing(self["prefix"]).command(self["host"], self["command"])
        os.execvpe(command[0], command, ENVIRONMENT)


class Demo(Command):
    """
    Show the method at work in a lab of its own.
    """

    problems = (LabError,)

    optFlags: ClassVar = [["keep", "k", "Leave the lab standing."]]
    optParameters: ClassVar = DISTANCE

    def run(self) -> int:
        far = {"delay": self["delay"], "rate": self["rate"], "loss": self["loss"]}
        return demo.run(keep=bool(self["keep"]), **far)


class Labs(Group):
    """
    A cluster on this one machine, in network namespaces.
    """

    subCommands = [
        ("up", None, Up, "Bring a lab up."),
        ("down", None, Down, "Take it down."),
        ("status", None, Status, "Tell what stands and runs."),
        ("exec", None, Exec, "Run a command on a host of it."),
        ("demo", None, Demo, "Show the method at work."),
    ]
