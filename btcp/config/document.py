# SPDX-License-Identifier: MIT
"""
Parser from YAML text to a document tree whose nodes have line numbers, and the errors that
refer to them.

The parser uses PyYAML's event stream.  Constructed objects have no line numbers, silently
drop the first of two equal keys, and turn C{no} into a boolean.  Events come from libyaml
(a reload blocks the reactor, so speed matters), and excessive nesting is refused before it is
built.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NoReturn, TypeAlias

import yaml
from attrs import evolve, frozen

MAX_OCTETS = 1 << 20
_MAX_DEPTH = 8  # the configuration needs 4
_TOO_DEEP = f"nested more than {_MAX_DEPTH} deep"
# libyaml's error for its own limit of 1,000 levels (older releases have none).  Its scanner
# looks up to 1,024 octets ahead for a key's colon, so it can reach its limit before it has
# returned the event of the ninth level.
_FAR_TOO_DEEP = "exceeded maximum nesting depth"
_LOADER = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
# Characters that YAML 1.1, 5.1 forbids.  libyaml and PyYAML report them differently.
_UNPRINTABLE = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@frozen(slots=True)
class Problem:
    """
    One mistake in a configuration file.

    @ivar line: line number from 1; 0 if the problem concerns the file as a whole.
    @ivar column: column number from 1; 0 if the problem concerns the file as a whole.
    @ivar message: the mistake, and what would be correct.
    """

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.message}"


class ConfigErrors(Exception):
    """
    All mistakes in a configuration file.

    @ivar problems: at least one, sorted by line and column.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda one: (one.line, one.column)))
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


@frozen(slots=True)
class Scalar:
    """
    A single value.

    @ivar text: the value as written, without quotes.
    @ivar plain: whether it was written without quotes; only then may it be read as a number,
        a boolean or null.
    @ivar line: from 1.
    @ivar column: from 1.
    """

    text: str
    plain: bool
    line: int
    column: int

    @property
    def empty(self) -> bool:
        """
        C{True} if the scalar is YAML's null.
        """
        return self.plain and self.text in ("", "~", "null")


@frozen(slots=True)
class Sequence:
    """
    A list.
    """

    items: tuple[AnyNode, ...]
    line: int
    column: int


@frozen(slots=True)
class Mapping:
    """
    Keys and values in the order of the file; a key may occur twice.
    """

    pairs: tuple[tuple[Scalar, AnyNode], ...]
    line: int
    column: int


AnyNode: TypeAlias = Scalar | Sequence | Mapping


def compose(text: str, file: str) -> AnyNode:
    """
    Parse the only document of a file.

    @param file: the file name that problems are reported with.
    @return: the root of the document tree.
    @raise ConfigErrors: if C{text} is larger than L{MAX_OCTETS}, is not YAML, contains no or
        several documents, nests too deeply, or uses anchors, aliases or tags.
    """
    if len(text) > MAX_OCTETS:
        raise ConfigErrors([too_large(file)])
    unprintable = _UNPRINTABLE.search(text)
    if unprintable is not None:
        before = text[: unprintable.start()]
        line, column = before.count("\n") + 1, unprintable.start() - before.rfind("\n")
        message = f"character U+{ord(unprintable[0]):04X} is not allowed in YAML"
        raise ConfigErrors([Problem(file, line, column, message)])
    try:
        return _Composer(yaml.parse(text, Loader=_LOADER), file).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        raise ConfigErrors([Problem(file, *place, _message(error))]) from error
    except yaml.YAMLError as error:
        raise ConfigErrors([Problem(file, 0, 0, f"not YAML: {error}")]) from error


def _message(error: yaml.MarkedYAMLError) -> str:
    if error.problem == _FAR_TOO_DEEP:
        return _TOO_DEEP
    parts = [part for part in (error.context, error.problem) if part]
    return f"not YAML: {', '.join(parts)}"


def too_large(file: str) -> Problem:
    """
    Make the problem for a file larger than L{MAX_OCTETS}.
    """
    return Problem(file, 0, 0, f"larger than {MAX_OCTETS} octets")


class _Composer:
    """
    Builder of the document tree from YAML events; its recursion is limited to C{_MAX_DEPTH}.
    """

    def __init__(self, events: Iterator[yaml.Event], file: str) -> None:
        self._events = events
        self._file = file

    def document(self) -> AnyNode:
        next(self._events)  # the stream's start
        event = next(self._events)
        if isinstance(event, yaml.StreamEndEvent):
            self._refuse(event, "the file is empty; docs/configuration.md says what it needs")
        node = self._node(next(self._events), 1)
        next(self._events)  # the document's end
        event = next(self._events)
        if not isinstance(event, yaml.StreamEndEvent):
            self._refuse(event, "a second document; want one")
        return node

    def _refuse(self, event: yaml.Event, message: str) -> NoReturn:
        line, column = _place(event)
        raise ConfigErrors([Problem(self._file, line, column, message)])

    def _node(self, event: yaml.Event, depth: int) -> AnyNode:
        # An alias can make a small file describe a huge tree.
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            self._refuse(event, "anchors and aliases (& and *) are not allowed; write it out")
        if getattr(event, "tag", None) is not None:
            self._refuse(event, "tags (!) are not allowed")
        if depth > _MAX_DEPTH:
            self._refuse(event, _TOO_DEEP)
        line, column = _place(event)
        if isinstance(event, yaml.MappingStartEvent):
            return Mapping(tuple(self._pairs(depth + 1)), line, column)
        if isinstance(event, yaml.SequenceStartEvent):
            return Sequence(tuple(self._items(depth + 1)), line, column)
        assert isinstance(event, yaml.ScalarEvent)
        return Scalar(event.value, event.implicit[0], line, column)

    def _items(self, depth: int) -> Iterator[AnyNode]:
        for event in self._events:
            if isinstance(event, yaml.SequenceEndEvent):
                return
            yield self._node(event, depth)

    def _pairs(self, depth: int) -> Iterator[tuple[Scalar, AnyNode]]:
        for event in self._events:
            if isinstance(event, yaml.MappingEndEvent):
                return
            key = self._node(event, depth)
            if not isinstance(key, Scalar):
                self._refuse(event, "want a plain word as key")
            value = self._node(next(self._events), depth)
            if not isinstance(value, Scalar):
                # YAML marks collections at their first item; operators look for the key.
                value = evolve(value, line=key.line, column=key.column)
            yield key, value


def _place(event: yaml.Event) -> tuple[int, int]:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark else (0, 0)
