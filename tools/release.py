# SPDX-License-Identifier: MIT
"""
A release: C{python -m tools.release 0.2.0} sets the version, builds the changelog, commits, makes
the artefacts in C{dist/} and tags.  It pushes and uploads nothing.
"""

from __future__ import annotations

import re
import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path

from tools.glossary import ROOT

_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")
_LINE = re.compile(r"^version = (.*)$", re.MULTILINE)


class ReleaseError(Exception):
    """
    The release cannot be made; the text says what has to be done first.
    """


def present_version(settings: str) -> str:
    """
    @param settings: the text of setup.cfg.
    @raise ReleaseError: it names no version.
    """
    match = _LINE.search(settings)
    if match is None:
        raise ReleaseError("setup.cfg has no line 'version = ...'")
    return match[1]


def with_version(settings: str, version: str) -> str:
    """
    Replace the version.

    @param settings: the text of setup.cfg.
    @param version: three numbers with dots between them; later than the present one.
    @raise ReleaseError: it is neither.
    """
    present = present_version(settings)
    if _VERSION.fullmatch(version) is None:
        raise ReleaseError(f"{version!r} is no version: three numbers, such as 0.2.0")
    if _order(version) <= _order(present):
        raise ReleaseError(f"version {version} is not later than {present}")
    return _LINE.sub(f"version = {version}", settings, count=1)


def _order(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _run(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ReleaseError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def _check_tree(version: str) -> None:
    if _run("git", "status", "--porcelain"):
        raise ReleaseError("the tree has changes; commit or stash them")
    if _run("git", "tag", "--list", f"v{version}"):
        raise ReleaseError(f"the tag v{version} exists")


def release(version: str) -> None:
    """
    Make the release.  A failure before the commit leaves the tree as it was.

    @raise ReleaseError: a step failed, or something has to be done first.
    """
    settings = ROOT / "setup.cfg"
    changed = with_version(settings.read_text(), version)
    _check_tree(version)
    try:
        settings.write_text(changed)
        _run(sys.executable, "-m", "towncrier", "build", "--yes", "--version", version)
        _run("git", "add", "--all")
        _run("git", "commit", "--message", f"Release {version}")
    except BaseException:
        _run("git", "reset", "--hard")
        raise
    _run("packaging/build")
    _run("git", "tag", "--annotate", f"v{version}", "--message", f"BTCP {version}")


def main(arguments: list[str]) -> int:
    """
    @return: exit status.
    """
    parser = ArgumentParser(prog="make release")
    parser.add_argument("version", help="three numbers, such as 0.2.0")
    version = parser.parse_args(arguments).version
    try:
        release(version)
    except ReleaseError as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    print("\n".join(str(path.relative_to(ROOT)) for path in sorted(Path(ROOT, "dist").iterdir())))
    print(f"tagged v{version}; to publish it: git push --follow-tags")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
