# SPDX-License-Identifier: MIT
"""
Levels of permission of operators.
"""

from __future__ import annotations

from enum import IntEnum


class Level(IntEnum):
    """
    A level of permission, which includes the permissions of lower levels.
    """

    USER = 1
    """May read the node's state."""

    OPERATOR = 2
    """May drain nodes, set weights, reset connections and clear counters."""

    ADMIN = 3
    """May reload the configuration and write traces to files."""

    def __str__(self) -> str:
        return self.name.lower()


LEVELS = {str(level): level for level in Level}
"""Names of levels to levels."""
