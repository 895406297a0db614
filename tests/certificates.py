# SPDX-License-Identifier: MIT
"""
Certificates for tests, good ones and others.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import copy

from btcp.config import Credentials
from btcp.pki.authority import create, issue

WRONG = ("wrong-authority", "expired", "not-yet-valid", "wrong-name")
"""Kinds of certificates that peers refuse, named as the counters of refusals."""

_MADE = timedelta(days=20)


class Certificates:
    """
    An authority, a good certificate for each node, and wrong ones as they are wanted.

    @ivar directory: where C{btcp ca} would have made it.
    """

    def __init__(self, directory: Path, nodes: str = "abc") -> None:
        """
        @param nodes: those that shall have certificates; they may, and the authority may,
            have been made before.
        """
        self.directory = directory
        self._now = datetime.now(UTC)
        if not directory.exists():
            create(directory, 365, self._now - _MADE)
        for node in nodes:
            if not (directory / node).exists():
                issue(directory, node, 60, self._now)

    def good(self, node: str) -> Credentials:
        """
        What every node should have.
        """
        return self._credentials(self.directory / node)

    def wrong(self, kind: str, node: str) -> Credentials:
        """
        What no peer should take from C{node}.

        @param kind: one of L{WRONG}.
        """
        if kind == "wrong-name":
            return self.good("b" if node == "a" else "a")
        directory = self.directory / kind
        begins = {"expired": -_MADE / 2, "not-yet-valid": _MADE / 2}.get(kind, timedelta(0))
        if not directory.exists() and kind == "wrong-authority":
            create(directory, 365, self._now)
        elif not directory.exists():
            directory.mkdir()
            for name in ("ca.crt", "ca.key"):
                copy(self.directory / name, directory)
        if not (directory / node).exists():
            issue(directory, node, 1, self._now + begins)
        return self._credentials(directory / node)

    def _credentials(self, home: Path) -> Credentials:
        certificate, key = str(home / "node.crt"), str(home / "node.key")
        return Credentials(certificate, key, str(self.directory / "ca.crt"))
