# SPDX-License-Identifier: MIT
"""
C{btcp lab}.
"""

from __future__ import annotations

import os
from typing import ClassVar

from twisted.python import usage

from btcp.cli.options import Command, Group
from btcp.lab import demo
from btcp.lab.cluster import Lab
from btcp.lab.programs import ENVIRONMENT, LabError
from btcp.lab.status import status


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
    optParameters: ClassVar = [["nodes", "n", "abc", "The nodes, a letter each."]]

    def run(self) -> int:
        lab = Lab(self["prefix"], self["nodes"], tls=bool(self["tls"]))
        lab.up(daemons=not self["no-daemons"])
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

    def run(self) -> int:
        return demo.run(keep=bool(self["keep"]))


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
