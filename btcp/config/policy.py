# SPDX-License-Identifier: MIT
"""
The keys C{policy} and C{balance-factor}, which the file and each rule may have.
"""

from __future__ import annotations

from collections.abc import Mapping

from btcp.config.document import AnyNode
from btcp.config.reading import Reading, suggestion
from btcp.partition.contract import PolicyChoice
from btcp.partition.policy import POLICIES

BOUNDED = "consistent"
"""The only policy that has a C{balance-factor}."""

LEAST_FACTOR, MAX_FACTOR = 101, 10_000


def read_policy_choice(
    found: Mapping[str, AnyNode], prefix: str, reading: Reading
) -> PolicyChoice | None:
    """
    Read both keys.

    @param found: the section's keys and values.
    @param prefix: the prefix of keys in problems, such as C{""} or C{"partition[0]."}.
    @return: L{None} if the section names no policy or C{reading} received problems.
    """
    name = None
    if "policy" in found:
        name = _read_name(found["policy"], f"{prefix}policy", reading)
    if "balance-factor" not in found:
        return None if name is None else PolicyChoice(name)
    node, what = found["balance-factor"], f"{prefix}balance-factor"
    factor = reading.integer(node, what, LEAST_FACTOR, MAX_FACTOR)
    if "policy" not in found or name not in (BOUNDED, None):
        reading.complain(node, f"{what}: goes with 'policy: {BOUNDED}' beside it, and no other")
    return None if name is None or factor is None else PolicyChoice(name, factor)


def _read_name(node: AnyNode, what: str, reading: Reading) -> str | None:
    name = reading.text(node, what, f"one of {', '.join(POLICIES)}")
    if name is None or name in POLICIES:
        return name
    reading.complain(node, f"{what}: unknown policy {name!r}; {suggestion(name, POLICIES)}")
    return None
