# SPDX-License-Identifier: MIT
"""
Comparison of configurations: which keys differ, and which of them a running node can change.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attrs import evolve, fields

from btcp.config import Config, Listener
from btcp.config.keys import key_of

_LIVE = frozenset(("partition", "policy", "slow-start", "timeouts", "limits"))
"""Keys, and sections all of whose keys, that a running node can change."""

_SECTIONS = frozenset(("control", "timeouts", "limits", "log"))
"""Sections whose differences are reported key by key."""


class RestartNeeded(Exception):
    """
    A configuration that changes keys that a running node cannot change.  None of it has been
    applied.

    @ivar keys: these keys, as written in C{docs/configuration.md}.
    """

    def __init__(self, keys: list[str]) -> None:
        super().__init__(keys)
        self.keys = keys

    def __str__(self) -> str:
        return f"only a restart can change {', '.join(self.keys)}; nothing was changed"


def differences(old: Config, new: Config) -> list[str]:
    """
    List the keys that differ, in the order of C{docs/configuration.md}.
    """
    return list(_differences(old, new))


def _differences(old: Config, new: Config) -> Iterator[str]:
    for attribute in fields(Config):
        name = attribute.name
        before, after = getattr(old, name), getattr(new, name)
        if name == "nodes":
            names = [*before, *(each for each in after if each not in before)]
            yield from (f"nodes.{n}" for n in names if before.get(n) != after.get(n))
        elif before == after:
            continue
        elif name == "listeners" and _plain(before) == _plain(after):
            pairs = zip(_by_name(before), _by_name(after), strict=True)
            yield from (f"listeners.{b.name}.health" for b, a in pairs if b.health != a.health)
        elif name in _SECTIONS:
            yield from (f"{name}.{key}" for key in _changed(before, after))
        else:
            yield key_of(name)


def _plain(listeners: tuple[Listener, ...]) -> list[Listener]:
    return [evolve(listener, health=None) for listener in _by_name(listeners)]


def _by_name(listeners: tuple[Listener, ...]) -> list[Listener]:
    """
    Order listeners by name: their order in the file means nothing.
    """
    return sorted(listeners, key=lambda listener: listener.name)


def _changed(before: Any, after: Any) -> Iterator[str]:
    for attribute in fields(type(before)):
        one, other = getattr(before, attribute.name), getattr(after, attribute.name)
        if one == other:
            continue
        if attribute.name == "credentials":
            keys = ("certificate", "key", "authority")
            yield from (k for k in keys if getattr(one, k, None) != getattr(other, k, None))
        else:
            yield key_of(attribute.name)


def reloadable(started: Config, old: Config, new: Config) -> list[str]:
    """
    List the keys that differ, if a running node can change all of them.

    @param started: the configuration with which the node was started.
    @param old: the current configuration.
    @param new: the new configuration.
    @raise RestartNeeded: if a running node cannot change one of them.
    """
    changed = differences(old, new)
    fixed = [key for key in changed if not _is_live(key, started, old, new)]
    if fixed:
        raise RestartNeeded(fixed)
    return changed


def _is_live(key: str, started: Config, old: Config, new: Config) -> bool:
    section, _, name = key.partition(".")
    if section == "nodes":
        before, after = old.nodes.get(name), new.nodes.get(name)
        if before is None or after is None:
            return before is None  # nodes can be added, not removed
        return evolve(before, weight=after.weight) == after
    if section == "listeners":
        return name.endswith(".health")
    if key == "limits.flows":  # the kernel's tables were created with that size
        return new.limits.flows <= started.limits.flows
    if section == "log" and name != "file":
        return name == "connections" or (started.log.own and new.log.own)
    return section in _LIVE
