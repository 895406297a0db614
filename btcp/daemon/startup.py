# SPDX-License-Identifier: MIT
"""
Failures of a start that have a reason which an operator can act on: one line, no traceback.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from btcp.admin.endpoints import SocketInUse
from btcp.daemon.privileges import PrivilegeError
from btcp.datapath.interface import DatapathError

_REASONS = (CannotListenError, DatapathError, OSError, PrivilegeError, SocketInUse)

log = Logger()


class StartError(Exception):
    """
    A node that cannot start on this host; the text is one line.
    """


@contextmanager
def reasons_in_one_line() -> Iterator[None]:
    """
    Log a failure that has an expected reason, and raise L{StartError} in its place.

    Any other exception is a defect and passes with its traceback.
    """
    try:
        yield
    except _REASONS as problem:
        why = " ".join(str(problem).split())
        log.critical("cannot start: {why}", why=why)
        raise StartError(why) from None


def print_start_errors_plainly() -> None:
    """
    Have the interpreter print a L{StartError} that ends the process as one line.
    """
    before = sys.excepthook

    def hook(
        kind: type[BaseException], problem: BaseException, traceback: TracebackType | None
    ) -> None:
        if isinstance(problem, StartError):
            # Not sys.stderr, which twistd redirects to its log.
            print(f"btcp: cannot start: {problem}", file=sys.__stderr__)
        else:
            before(kind, problem, traceback)

    sys.excepthook = hook
