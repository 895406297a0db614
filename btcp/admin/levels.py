# SPDX-License-Identifier: MIT
"""
Who may do what.
"""

from __future__ import annotations

from enum import IntEnum


class Level(IntEnum):
    """
    Each may do all that those below it may.
    """

    USER = 1
    """Looks."""

    OPERATOR = 2
    """Takes nodes and flows out of service, and counters back to zero."""

    ADMIN = 3
    """Changes what is configured, and writes files."""

    def __str__(self) -> str:
        return self.name.lower()


LEVELS = {str(level): level for level in Level}
"""By their names."""
