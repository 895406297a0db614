# SPDX-License-Identifier: MIT
"""
The command C{btcp}: C{check}, C{doctor}, C{unload}, C{ca}, C{lab}, and the orders to a node.
The daemon itself is C{twistd btcp}.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from ipaddress import ip_address
from typing import ClassVar

from twisted.python import usage

from btcp.ca import Ca
from btcp.command import FAILED, MISUSED, Command, Group
from btcp.config import Config, ConfigErrors, load
from btcp.control.authority import AuthorityError
from btcp.doctor.command import Doctor
from btcp.lab import demo
from btcp.lab.cluster import Lab
from btcp.lab.programs import ENVIRONMENT, LabError
from btcp.lab.status import status
from btcp.unload import Unload
from btcp.verbs import VERBS, WHERE


class Check(Command):
    """
    Tell all that is wrong with a configuration, without starting anything.
    """

    synopsis = "[--node NAME] NODE.YAML"
    optParameters: ClassVar = [["node", "n", None, "Which of its nodes this host is."]]

    def parseArgs(self, path: str = "") -> None:
        if not path:
            raise usage.UsageError("say which file to check")
        self["path"] = path

    def run(self) -> int:
        try:
            config = load(self["path"], self["node"])
        except ConfigErrors as errors:
            print(errors, file=sys.stderr)
            return FAILED
        print(summary(config))
        return 0


class LabCommand(Command):
    """
    What all commands about a lab have in common.
    """

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

    optFlags: ClassVar = [["keep", "k", "Leave the lab standing."]]

    def run(self) -> int:
        return demo.run(keep=bool(self["keep"]))


class LabGroup(Group):
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


class Btcp(Group):
    """
    Content-aware load balancing that moves connections instead of bytes.
    """

    optFlags: ClassVar = [["json", "j", "Print JSON."]]
    optParameters: ClassVar = WHERE
    subCommands = [
        ("check", None, Check, "Validate a configuration."),
        *VERBS,
        ("doctor", None, Doctor, "Look at this host; tell what is wrong."),
        ("unload", None, Unload, "Take from this host what a daemon left."),
        ("ca", None, Ca, "Make the certificates of a cluster."),
        ("lab", None, LabGroup, "A cluster on this one machine."),
    ]

    def opt_version(self) -> None:
        """
        Print the version and exit.
        """
        print(f"btcp {version('btcp')}")
        raise SystemExit(0)


def summary(config: Config) -> str:
    """
    What a configuration says, in a few lines.
    """
    addresses = ", ".join(str(ip_address(address)) for address in config.own.addresses)
    lines = [f"node {config.node} of {', '.join(config.nodes)}, at {addresses}"]
    for listener in config.listeners:
        content = f"{listener.content} at " if listener.content != "http" else ""
        lines.append(
            f"listener {listener.name}: {content}port {listener.port}, origin {listener.origin}"
        )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """
    @param argv: the arguments; those of the process unless given.
    @return: the exit status.
    """
    options = Btcp()
    try:
        options.parseOptions(sys.argv[1:] if argv is None else list(argv))
        return options.chosen().run()
    except usage.UsageError as error:
        print(f"btcp: {error}", file=sys.stderr)
        return MISUSED
    except (AuthorityError, LabError) as error:
        for line in str(error).splitlines():
            print(f"btcp: {line}", file=sys.stderr)
        return FAILED


if __name__ == "__main__":
    sys.exit(main())
