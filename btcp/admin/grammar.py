# SPDX-License-Identifier: MIT
"""
Parser of command lines, with errors that point at the wrong word.

This module does no I/O.  The commands are defined in L{btcp.admin.syntax}.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from attrs import field, frozen

from btcp.admin.argument_types import ArgumentType, suggestion
from btcp.admin.levels import Level

LONGEST_LINE = 1024

_WORD = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([^\s"']\S*)|(["']\S*))""")
_PLAIN = re.compile(r"[^\s\"'#]\S*\Z")


class SyntaxProblem(Exception):
    """
    A line that is not a valid command.

    @ivar column: column of the first wrong character, from 0.
    @ivar length: number of wrong characters; 0 if something is missing at C{column}.
    """

    def __init__(self, message: str, column: int, length: int) -> None:
        super().__init__(message)
        self.column = column
        self.length = length


@frozen
class Word:
    """
    A word of a line.

    @ivar text: the word without quotes.
    @ivar column: column of its first character (or opening quote) in the line, from 0.
    @ivar length: number of characters, including quotes.
    """

    text: str
    column: int
    length: int

    def wrong(self, message: str) -> SyntaxProblem:
        """
        Make the error that points at this word.
        """
        return SyntaxProblem(message, self.column, self.length)


@frozen
class Argument:
    """
    An argument or option of a command.

    @ivar name: the key of its value in a L{ParsedCommand}; for options also the word before it.
    @ivar kind: its type.
    """

    name: str
    kind: ArgumentType


@frozen
class Form:
    """
    The syntax of one command.

    @ivar words: the words that it begins with.
    @ivar level: the lowest level that may use it.
    @ivar summary: its description in help texts.
    @ivar arguments: required arguments, in this order.
    @ivar last: an optional argument after them.
    @ivar options: optional arguments, in any order, each preceded by its name.
    """

    words: tuple[str, ...]
    level: Level
    summary: str
    arguments: tuple[Argument, ...] = ()
    last: Argument | None = None
    options: tuple[Argument, ...] = ()

    @property
    def name(self) -> str:
        """
        The command's words, joined.
        """
        return " ".join(self.words)

    @property
    def usage(self) -> str:
        """
        The usage line.
        """
        parts = [self.name, *(argument.kind.metavar for argument in self.arguments)]
        if self.last is not None:
            parts.append(f"[{self.last.kind.metavar}]")
        return " ".join([*parts, *(f"[{o.name} {o.kind.metavar}]" for o in self.options)])


@frozen
class ParsedCommand:
    """
    A valid command with its arguments.

    @ivar values: values of arguments and options by name; absent ones are not included.
    """

    form: Form
    values: Mapping[str, object] = field(factory=dict)


def split(line: str) -> list[Word]:
    """
    Split a line into words; quotes work as in a shell, without escapes.

    @raise SyntaxProblem: if a quote is not closed, or the line is too long or has characters
        that are not printable.
    """
    if len(line) > LONGEST_LINE:
        raise SyntaxProblem(f"a line has {LONGEST_LINE} characters at most", LONGEST_LINE, 0)
    if not line.isprintable():
        column = next(at for at, each in enumerate(line) if not each.isprintable())
        raise SyntaxProblem("want printable characters only", column, 1)
    words, line = [], line.rstrip()
    at = 0
    while at < len(line):
        match = _WORD.match(line, at)
        assert match is not None  # for mypy: something is left, and any of it matches
        kind = match.lastindex or 0
        column, at = match.start(kind), match.end()
        if kind == 4:
            raise SyntaxProblem("the quote is not closed", column, at - column)
        column -= kind < 3
        words.append(Word(match[kind], column, at - column))
    return words


def quoted(words: Sequence[str]) -> str:
    """
    Join words to a line, with quotes where necessary; the inverse of L{split}.

    @raise ValueError: if a word contains both kinds of quotes.
    """
    return " ".join(word if _PLAIN.match(word) else _quote(word) for word in words)


def _quote(word: str) -> str:
    for mark in "\"'":
        if mark not in word:
            return f"{mark}{word}{mark}"
    raise ValueError(f"{word} has both kinds of quotes")


def parse(line: str, forms: Sequence[Form]) -> ParsedCommand:
    """
    Parse a line as one of the given commands.

    @raise SyntaxProblem: if it is not a valid command.
    """
    words = split(line)
    form = _form(words, forms, len(line))
    return ParsedCommand(form, _values(form, words[len(form.words) :], len(line)))


def _form(words: Sequence[Word], forms: Sequence[Form], end: int) -> Form:
    for count in range(len(words) + 1):
        said = tuple(word.text for word in words[:count])
        forms = [form for form in forms if form.words[:count] == said[: len(form.words)]]
        whole = [form for form in forms if len(form.words) == count]
        if whole:
            return whole[0]
        known = list(dict.fromkeys(form.words[count] for form in forms))
        if count == len(words):
            raise SyntaxProblem(suggestion("", known), end, 0)
        if words[count].text not in known:
            raise words[count].wrong(suggestion(words[count].text, known))
    raise AssertionError("not reached")


def _values(form: Form, words: Sequence[Word], end: int) -> dict[str, object]:
    values: dict[str, object] = {}
    left = list(words)
    for argument in form.arguments:
        if not left:
            raise SyntaxProblem(f"want {argument.kind.metavar} here", end, 0)
        values[argument.name] = _read(argument, left.pop(0))
    if form.last is not None and left:
        values[form.last.name] = _read(form.last, left.pop(0))
    options = {option.name: option for option in form.options}
    while left:
        word = left.pop(0)
        if word.text not in options:
            known = [name for name in options if name not in values]
            twice = word.text in values
            raise word.wrong(f"{word.text} is repeated" if twice else _no_option(word, known))
        option = options.pop(word.text)
        if not left:
            raise SyntaxProblem(f"want {option.kind.metavar} after {option.name}", end, 0)
        values[option.name] = _read(option, left.pop(0))
    return values


def _no_option(word: Word, known: Sequence[str]) -> str:
    return suggestion(word.text, known) if known else "want nothing more here"


def _read(argument: Argument, word: Word) -> object:
    try:
        return argument.kind.read(word.text)
    except ValueError as error:
        raise word.wrong(str(error)) from None


def pointed(line: str, column: int, length: int, message: str) -> str:
    """
    Format an error as two lines: the command, and a marker with the message below the wrong word.
    """
    return f"{line}\n{' ' * column}{'^' * max(length, 1)} {message}"
