# SPDX-License-Identifier: MIT
"""
Types of a command's arguments: parsing, and words offered by completion.

Each parser returns a value or raises C{ValueError}, whose text describes what is valid.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from ipaddress import ip_address

from attrs import frozen

from btcp.config.reading import NAME
from btcp.handoff.messages import Endpoint
from btcp.handoff.states import Accept, Adopt

LONGEST_WAIT = 86400.0
"""Maximum seconds that a command can wait."""

LARGEST_TRACE = 1 << 40

_DURATION = re.compile(r"([0-9]{1,7}(?:\.[0-9]{1,3})?)(ms|s|m|h)\Z")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZE = re.compile(r"([0-9]{1,12})([kMG]?)\Z")
_OCTETS = {"": 1, "k": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_PERCENT = re.compile(r"([0-9]{1,3})%?\Z")
_COUNT = re.compile(r"[1-9][0-9]{0,8}\Z")
_END = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)):([0-9]{1,5})\Z")
_STATES = tuple(dict.fromkeys(state.value for half in (Accept, Adopt) for state in half))


@frozen
class Client:
    """
    A client's address, or the endpoint of one of its connections.

    @ivar address: the packed address.
    @ivar port: the port; L{None} matches any.
    """

    address: bytes
    port: int | None


@frozen
class ArgumentType:
    """
    The type of one argument.

    @ivar metavar: the placeholder in usage lines.
    @ivar read: parses the argument's word.
    @ivar words: all valid words; empty if they cannot be enumerated.
    """

    metavar: str
    read: Callable[[str], object]
    words: tuple[str, ...] = ()


def suggestion(word: str, known: Sequence[str]) -> str:
    """
    Compose the message for an invalid word: the valid words, and the most similar one.
    """
    wanted = f"want {', '.join(known)}" if known else "want nothing here"
    close = get_close_matches(word, known, 1)
    return f"{wanted}; did you mean {close[0]}?" if close else wanted


def choice(*words: str) -> ArgumentType:
    """
    Make a type whose values are the given words.
    """

    def read(word: str) -> str:
        if word not in words:
            raise ValueError(suggestion(word, words))
        return word

    return ArgumentType("|".join(words), read, words)


def _name(word: str) -> str:
    if NAME.match(word) is None:
        raise ValueError("want a name of 1 to 32 of a-z, 0-9 and '-'")
    return word


def _state(word: str) -> str:
    if word.upper() not in _STATES:
        raise ValueError(suggestion(word.upper(), _STATES))
    return word.upper()


def _percent(word: str) -> int:
    match = _PERCENT.match(word)
    if match is None or int(match[1]) > 100:
        raise ValueError("want 0% to 100%")
    return int(match[1])


def _duration(word: str) -> float:
    match = _DURATION.match(word)
    if match is not None:
        seconds = float(match[1]) * _SECONDS[match[2]]
        if 0 < seconds <= LONGEST_WAIT:
            return seconds
    raise ValueError("want a time such as 500ms, 30s, 5m or 1h, one day at most")


def _size(word: str) -> int:
    match = _SIZE.match(word)
    if match is not None:
        octets = int(match[1]) * _OCTETS[match[2]]
        if 0 < octets <= LARGEST_TRACE:
            return octets
    raise ValueError("want a size in octets such as 500000, 64k, 10M or 1G")


def _count(word: str) -> int:
    if _COUNT.match(word) is None:
        raise ValueError("want a whole number, 1 or more")
    return int(word)


def _endpoint(word: str) -> Endpoint:
    match = _END.match(word)
    if match is not None and 0 < int(match[3]) < 65536:
        address = _packed(match[1] or match[2])
        if address is not None and (len(address) == 16) == (match[1] is not None):
            return Endpoint(address, int(match[3]))
    raise ValueError("want a client's endpoint, such as 192.0.2.1:1024 or [2001:db8::1]:1024")


def _client(word: str) -> Client:
    address = _packed(word)
    if address is not None:
        return Client(address, None)
    try:
        end = _endpoint(word)
    except ValueError:
        raise ValueError("want a client's address, or an endpoint such as 192.0.2.1:1024") from None
    return Client(end.address, end.port)


def _packed(text: str) -> bytes | None:
    try:
        return ip_address(text).packed
    except ValueError:
        return None


def _file(word: str) -> str:
    if not word.startswith("/") or word.endswith("/"):
        raise ValueError("want the absolute path of a file, which the node writes")
    return word


NODE = ArgumentType("NODE", _name)
LISTENER = ArgumentType("LISTENER", _name)
STATE = ArgumentType("STATE", _state, _STATES)
PERCENT = ArgumentType("PERCENT%", _percent)
TIME = ArgumentType("TIME", _duration)
SIZE = ArgumentType("SIZE", _size)
COUNT = ArgumentType("COUNT", _count)
CLIENT = ArgumentType("ADDRESS[:PORT]", _client)
END = ArgumentType("ADDRESS:PORT", _endpoint)
FILE = ArgumentType("FILE", _file)
