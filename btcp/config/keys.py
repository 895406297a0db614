# SPDX-License-Identifier: MIT
"""
Every key a configuration may hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from attrs import fields

from btcp.config.values import Check, Limits, Log, Timeouts


def key_of(attribute: str) -> str:
    """
    How the file writes the name of an attribute.
    """
    return attribute.replace("_", "-")


KEYS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "": (
            "node",
            "device",
            "run",
            "user",
            "state",
            "slow-start",
            "nodes",
            "listeners",
            "partition",
            "datapath",
            "adoption",
            "express",
            "policy",
            "balance-factor",
            "control",
            "timeouts",
            "limits",
            "log",
            "window-scale",
        ),
        "nodes.NAME": ("addresses", "control", "weight", "manage"),
        "listeners.NAME": ("port", "addresses", "origin", "content", "health"),
        "listeners.NAME.health": tuple(key_of(attribute.name) for attribute in fields(Check)),
        "partition[]": ("host", "path", "nodes", "policy", "balance-factor"),
        "control": ("certificate", "key", "authority", "insecure", "heartbeat"),
        "timeouts": tuple(key_of(attribute.name) for attribute in fields(Timeouts)),
        "limits": tuple(key_of(attribute.name) for attribute in fields(Limits)),
        "log": tuple(key_of(attribute.name) for attribute in fields(Log)),
    }
)
"""
Section to its keys.  C{NAME} stands for a name chosen by the user, C{[]} for an item.
"""
