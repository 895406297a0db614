# SPDX-License-Identifier: MIT
"""
The command C{btcp doctor}.
"""

from __future__ import annotations

import json
import sys
from typing import ClassVar

from btcp.cli.options import FAILED, Command
from btcp.config import ConfigErrors, load
from btcp.doctor.examination import Checked, examine, failed, text
from btcp.doctor.host import Host


class Doctor(Command):
    """
    Examine this host; report problems and the commands that solve them.
    """

    synopsis = "[--json] [--config NODE.YAML] [--node NAME]"
    optFlags: ClassVar = [["json", "j", "Print JSON."]]
    optParameters: ClassVar = [
        ["config", "c", "/etc/btcp/node.yaml", "The configuration."],
        ["node", "n", None, "Which of its nodes this host is; overrides the file."],
    ]

    def run(self) -> int:
        config, wrong = None, None
        try:
            config = load(self["config"], self["node"])
        except ConfigErrors as errors:
            wrong = errors
        results: list[Checked] = []
        for result in examine(Host(), config):
            results.append(result)
            if not self["json"]:
                print("\n".join(text([result])), flush=True)
        if self["json"]:
            problems = [] if wrong is None else [str(each) for each in wrong.problems]
            shown = [each.shown() for each in results]
            print(json.dumps({"checks": shown, "configuration": problems}, indent=1))
        elif wrong is not None:
            print(f"{wrong}\nbtcp: all other checks need the configuration", file=sys.stderr)
        return FAILED if wrong is not None or failed(results) else 0
