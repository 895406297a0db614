# SPDX-License-Identifier: MIT
"""
Checker of commit messages: C{python -m tools.commit_message FILE}, a commit-msg hook.
"""

from __future__ import annotations

import sys
from pathlib import Path

MOST = 72
"""The number of characters that a subject, or a line of prose in the body, may have."""

_GENERATED = ("Merge ", "Revert ", "fixup! ", "squash! ", "Release ")
_SCISSORS = "# ------------------------ >8 ------------------------"


def problems(message: str) -> list[str]:
    """
    Check a message as Git passes it to a hook.

    @param message: the text, comments and all.
    @return: what is wrong with it, one sentence each.
    """
    text = message.partition(_SCISSORS)[0]
    lines = [line.rstrip() for line in text.splitlines() if not line.startswith("#")]
    subject, rest = (lines[0], lines[1:]) if lines else ("", [])
    if not subject:
        return ["The first line is empty; it is the subject."]
    found = []
    if len(subject) > MOST:
        found.append(f"The subject has {len(subject)} characters, {MOST} are allowed.")
    if rest and rest[0]:
        found.append("The line after the subject is not empty.")
    if not any(rest) and not subject.startswith(_GENERATED):
        found.append("There is no body; say why the change is made.")
    for line in rest:
        if len(line) > MOST and " " in line.strip():
            found.append(f"This line has more than {MOST} characters: {line}")
    return found


def main(arguments: list[str]) -> int:
    """
    @return: exit status: 1 if the message is refused.
    """
    (path,) = arguments
    found = problems(Path(path).read_text())
    for problem in found:
        print(problem, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
