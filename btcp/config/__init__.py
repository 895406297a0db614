# SPDX-License-Identifier: MIT
"""
Reading and validation of the YAML configuration; C{docs/configuration.md} is its reference.
"""

from __future__ import annotations

from os import PathLike, fspath
from typing import TypeGuard

from btcp.config.document import (
    MAX_OCTETS,
    AnyNode,
    ConfigErrors,
    Mapping,
    Problem,
    compose,
    too_large,
)
from btcp.config.keys import KEYS
from btcp.config.reading import Reading
from btcp.config.sections import read_config
from btcp.config.values import (
    Check,
    Config,
    Control,
    Credentials,
    Limits,
    Listener,
    Log,
    Node,
    Timeouts,
)

__all__ = [
    "KEYS",
    "Check",
    "Config",
    "ConfigErrors",
    "Control",
    "Credentials",
    "Limits",
    "Listener",
    "Log",
    "Node",
    "Problem",
    "Timeouts",
    "load",
    "load_cluster",
    "loads",
]


def load(path: str | PathLike[str], node: str | None = None) -> Config:
    """
    Read a configuration file.

    @param node: the name of this host's node; overrides the key C{node} of the file.
    @raise ConfigErrors: with all problems found in the file.
    """
    return loads(_read_text(path), fspath(path), node)


def load_cluster(path: str | PathLike[str]) -> tuple[Config, ...]:
    """
    Read a configuration file as each of its nodes reads it, or only as the node that its key
    C{node} names.

    @raise ConfigErrors: with all problems that any of the nodes finds in the file.
    """
    name, text = fspath(path), _read_text(path)
    document = compose(text, name)
    top = {key.text: value for key, value in document.pairs} if _is_mapping(document) else {}
    nodes = top.get("nodes")
    if "node" in top or not _is_mapping(nodes):
        return (loads(text, name),)
    configs: list[Config] = []
    problems: dict[Problem, None] = {}
    for key, _ in nodes.pairs:
        try:
            configs.append(loads(text, name, key.text))
        except ConfigErrors as errors:
            problems.update(dict.fromkeys(errors.problems))
    if problems or not configs:
        raise ConfigErrors(problems or [Problem(name, 0, 0, "nodes: there is none")])
    return tuple(configs)


def _is_mapping(node: AnyNode | None) -> TypeGuard[Mapping]:
    return isinstance(node, Mapping)


def _read_text(path: str | PathLike[str]) -> str:
    name = fspath(path)
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_OCTETS + 1)
    except OSError as error:
        message = f"can not be read: {error.strerror or error}"
        raise ConfigErrors([Problem(name, 0, 0, message)]) from error
    if len(content) > MAX_OCTETS:
        raise ConfigErrors([too_large(name)])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        raise ConfigErrors([Problem(name, line, column, "not UTF-8 text")]) from error


def loads(text: str, name: str, node: str | None = None) -> Config:
    """
    Read a configuration from text.

    @param name: the file name that problems are reported with.
    @param node: the name of this host's node; overrides the key C{node} of the text.
    @raise ConfigErrors: with all problems found in the text.
    """
    reading = Reading(name)
    config = read_config(compose(text, name), reading, node)
    if config is None:
        raise ConfigErrors(reading.problems)
    return config
