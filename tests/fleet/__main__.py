# SPDX-License-Identifier: MIT
"""
Compute C{docs/scale.md}, or print what would be in it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.fleet.page import rewritten
from tests.fleet.report import report
from tests.fleet.scale import FULL, QUICK

PAGE = Path("docs/scale.md")


def main() -> None:
    """
    Compute.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.fleet", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small, and printed only")
    quick = parser.parse_args().quick
    text = "\n".join(report(QUICK if quick else FULL)).strip()
    if quick:
        print(text)
    else:
        PAGE.write_text(rewritten(PAGE.read_text(), text))


if __name__ == "__main__":
    main()
