# SPDX-License-Identifier: MIT
"""
Directories for tests in which a node has its management socket.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase


def short_directory(case: SynchronousTestCase) -> Path:
    """
    Make a directory that is removed after the test.  Its path is short whatever the names of the
    checkout and of the test are: that of a socket has at most 107 octets, C{unix(7)}.
    """
    scratch = TemporaryDirectory()
    case.addCleanup(scratch.cleanup)
    return Path(scratch.name)
