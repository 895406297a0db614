# SPDX-License-Identifier: MIT
"""
Compute C{docs/scale.md}, or print what would be in it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.fleet.page import rewritten
from tests.fleet.report import PARTS, report
from tests.fleet.scale import FULL, QUICK

PAGE = Path("docs/scale.md")


def main() -> None:
    """
    Compute.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.fleet", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small, and printed only")
    parser.add_argument("parts", nargs="*", help=f"only these of {', '.join(PARTS)}")
    arguments = parser.parse_args()
    wrong = set(arguments.parts) - set(PARTS)
    if wrong:
        parser.error(f"unknown: {', '.join(sorted(wrong))}; known: {', '.join(PARTS)}")
    parts, quick = arguments.parts or tuple(PARTS), arguments.quick
    text = "\n".join(report(QUICK if quick else FULL, parts))
    if quick:
        print(text)
    else:
        PAGE.write_text(rewritten(PAGE.read_text(), text))


if __name__ == "__main__":
    main()
