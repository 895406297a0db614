# SPDX-License-Identifier: MIT
"""
Tests of what is in C{conf/} beside configurations.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from btcp.admin import syntax as forms
from btcp.cli.check import Check
from btcp.cli.main import Btcp
from btcp.daemon import privileges
from btcp.lab.programs import ENVIRONMENT

_CONF = Path(__file__).parents[2] / "conf"
_UNIT = _CONF / "systemd" / "btcp.service"
_INSTALLED = "/opt/btcp/.venv/bin/"


class UnitTests(SynchronousTestCase):
    """
    The systemd unit.
    """

    def values(self, key: str) -> list[str]:
        lines = _UNIT.read_text().splitlines()
        return [line.partition("=")[2] for line in lines if line.startswith(f"{key}=")]

    def test_capabilities(self) -> None:
        """
        Those that the daemon keeps, and the one that it gives up when it has started.
        """
        names = {*(each.name for each in privileges.ALL), "CAP_SYS_ADMIN"}
        for key in ("AmbientCapabilities", "CapabilityBoundingSet"):
            (value,) = self.values(key)
            self.assertEqual(set(value.split()), names)

    def test_commands(self) -> None:
        """
        What systemd runs besides the daemon are commands that there are.
        """
        (check,), (reload,) = self.values("ExecStartPre"), self.values("ExecReload")
        options = Btcp()
        options.parseOptions(self.arguments(check))
        self.assertIsInstance(options.chosen(), Check)
        self.assertEqual(forms.read(" ".join(self.arguments(reload))).form.words, ("reload",))

    def arguments(self, command: str) -> list[str]:
        """
        @return: of a command of BTCP's.
        """
        program, *arguments = shlex.split(command)
        self.assertEqual(program, f"{_INSTALLED}btcp")
        return arguments

    def test_systemd_takes_it(self) -> None:
        """
        As C{systemd-analyze verify} says, with the programs of this tree.
        """
        if shutil.which("systemd-analyze", path=ENVIRONMENT["PATH"]) is None:
            raise SkipTest("systemd-analyze is missing: apt-get install systemd")
        directory = Path(self.mktemp())
        directory.mkdir()
        here = f"{Path(sys.executable).parent}/"
        unit = directory / "btcp.service"
        unit.write_text(_UNIT.read_text().replace(_INSTALLED, here))
        verify = ["systemd-analyze", "verify", str(unit)]
        done = subprocess.run(verify, capture_output=True, text=True, env=ENVIRONMENT)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
