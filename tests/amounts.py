# SPDX-License-Identifier: MIT
"""
Size of tests whose subject is an amount: of connections, cycles, or random cases.

C{make test} runs a part, in which each kind of event still occurs many times; C{make load} runs
the whole.
"""

from __future__ import annotations

import os

WHOLE = "BTCP_WHOLE_LOAD" in os.environ


def amount(whole: int, part: int) -> int:
    """
    @return: C{whole} in C{make load}, else C{part}.
    """
    return whole if WHOLE else part
