# SPDX-License-Identifier: MIT
"""
All keys that a configuration may contain.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from attrs import fields

from btcp.config.values import Check, Limits, Log, Timeouts


def key_of(attribute: str) -> str:
    """
    Convert an attribute's name to the configuration key: C{_} becomes C{-}.
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
        "listeners.NAME": ("port", "addresses", "origin", "content", "health", "retry"),
        "listeners.NAME.health": tuple(key_of(attribute.name) for attribute in fields(Check)),
        "partition[]": ("host", "path", "nodes", "policy", "balance-factor"),
        "control": ("certificate", "key", "authority", "insecure", "heartbeat"),
        "timeouts": tuple(key_of(attribute.name) for attribute in fields(Timeouts)),
        "limits": tuple(key_of(attribute.name) for attribute in fields(Limits)),
        "log": tuple(key_of(attribute.name) for attribute in fields(Log)),
    }
)
"""
Sections to their keys.  C{NAME} stands for a name that the user chooses, C{[]} for a list item.
"""
