# SPDX-License-Identifier: MIT
"""
From a line to an order, or to what is wrong with it and where.

No I/O happens here.  Which orders there are, L{btcp.admin.syntax} says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from attrs import field, frozen

from btcp.admin.argument_types import Kind, suggestion
from btcp.admin.levels import Level

LONGEST_LINE = 1024

_WORD = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([^\s"']\S*)|(["']\S*))""")
_PLAIN = re.compile(r"[^\s\"'#]\S*\Z")


class Misunderstood(Exception):
    """
    The line is no order.

    @ivar column: of the first character of what is wrong; 0 is the line's first.
    @ivar length: of what is wrong, in characters; 0 if something is missing there.
    """

    def __init__(self, message: str, column: int, length: int) -> None:
        super().__init__(message)
        self.column = column
        self.length = length


@frozen
class Word:
    """
    @ivar text: without its quotes.
    @ivar column: of its first character in the line, quotes included.
    @ivar length: with its quotes.
    """

    text: str
    column: int
    length: int

    def wrong(self, message: str) -> Misunderstood:
        """
        @return: that this word is wrong.
        """
        return Misunderstood(message, self.column, self.length)


@frozen
class Argument:
    """
    A word that stands for a value.

    @ivar name: of the value in an L{Order}.
    """

    name: str
    kind: Kind


@frozen
class Form:
    """
    One kind of order.

    @ivar words: what it begins with.
    @ivar arguments: what must follow, in this order.
    @ivar last: what may follow then.
    @ivar options: what may follow in any order, each after its own name, once.
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
        Its words.
        """
        return " ".join(self.words)

    @property
    def usage(self) -> str:
        """
        The form in one line.
        """
        parts = [self.name, *(argument.kind.metavar for argument in self.arguments)]
        if self.last is not None:
            parts.append(f"[{self.last.kind.metavar}]")
        return " ".join([*parts, *(f"[{o.name} {o.kind.metavar}]" for o in self.options)])


@frozen
class Order:
    """
    Something to do.

    @ivar values: of its arguments and options, by name; those not said are not in it.
    """

    form: Form
    values: Mapping[str, object] = field(factory=dict)


def split(line: str) -> list[Word]:
    """
    @raise Misunderstood: if a quote is not closed, or the line is no line.
    """
    if len(line) > LONGEST_LINE:
        raise Misunderstood(f"a line has {LONGEST_LINE} characters at most", LONGEST_LINE, 0)
    if not line.isprintable():
        column = next(at for at, each in enumerate(line) if not each.isprintable())
        raise Misunderstood("want printable characters only", column, 1)
    words, line = [], line.rstrip()
    at = 0
    while at < len(line):
        match = _WORD.match(line, at)
        assert match is not None  # for mypy: something is left, and any of it matches
        kind = match.lastindex or 0
        column, at = match.start(kind), match.end()
        if kind == 4:
            raise Misunderstood("the quote is not closed", column, at - column)
        column -= kind < 3
        words.append(Word(match[kind], column, at - column))
    return words


def quoted(words: Sequence[str]) -> str:
    """
    @return: the line that L{split} makes these words of.
    @raise ValueError: if there is none.
    """
    return " ".join(word if _PLAIN.match(word) else _quote(word) for word in words)


def _quote(word: str) -> str:
    for mark in "\"'":
        if mark not in word:
            return f"{mark}{word}{mark}"
    raise ValueError(f"{word} has both kinds of quotes")


def parse(line: str, forms: Sequence[Form]) -> Order:
    """
    @raise Misunderstood: if it is none.
    """
    words = split(line)
    form = _form(words, forms, len(line))
    return Order(form, _values(form, words[len(form.words) :], len(line)))


def _form(words: Sequence[Word], forms: Sequence[Form], end: int) -> Form:
    for count in range(len(words) + 1):
        said = tuple(word.text for word in words[:count])
        forms = [form for form in forms if form.words[:count] == said[: len(form.words)]]
        whole = [form for form in forms if len(form.words) == count]
        if whole:
            return whole[0]
        known = list(dict.fromkeys(form.words[count] for form in forms))
        if count == len(words):
            raise Misunderstood(suggestion("", known), end, 0)
        if words[count].text not in known:
            raise words[count].wrong(suggestion(words[count].text, known))
    raise AssertionError("not reached")


def _values(form: Form, words: Sequence[Word], end: int) -> dict[str, object]:
    values: dict[str, object] = {}
    left = list(words)
    for argument in form.arguments:
        if not left:
            raise Misunderstood(f"want {argument.kind.metavar} here", end, 0)
        values[argument.name] = _read(argument, left.pop(0))
    if form.last is not None and left:
        values[form.last.name] = _read(form.last, left.pop(0))
    options = {option.name: option for option in form.options}
    while left:
        word = left.pop(0)
        if word.text not in options:
            known = [name for name in options if name not in values]
            twice = word.text in values
            raise word.wrong(f"{word.text} is there twice" if twice else _no_option(word, known))
        option = options.pop(word.text)
        if not left:
            raise Misunderstood(f"want {option.kind.metavar} after {option.name}", end, 0)
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
    @return: the line, and below it what is wrong at which place.
    """
    return f"{line}\n{' ' * column}{'^' * max(length, 1)} {message}"
