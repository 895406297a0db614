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

from btcp import cli, privileges
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
        Exactly those that the daemon keeps.
        """
        names = {each.name for each in privileges.ALL}
        for key in ("AmbientCapabilities", "CapabilityBoundingSet"):
            (value,) = self.values(key)
            self.assertEqual(set(value.split()), names)

    def test_reload_checks_first(self) -> None:
        """
        What systemd runs before the signal is a command that there is, and refuses.
        """
        check, signal = self.values("ExecReload")
        self.assertEqual(signal, "/bin/kill -HUP $MAINPID")
        self.assertEqual(self.values("ExecStartPre"), [check])
        program, *arguments = shlex.split(check)
        self.assertEqual(program, f"{_INSTALLED}btcp")
        options = cli.Btcp()
        options.parseOptions(arguments)
        self.assertIsInstance(options.chosen(), cli.Check)

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
