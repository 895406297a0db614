# SPDX-License-Identifier: MIT
"""
Conversion of document nodes to values, with collection of problems.

Every method returns L{None} (or an empty container) after it has recorded a problem, so that
reading continues and one run reports all mistakes of the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from ipaddress import IPv6Address, ip_address

from btcp.config.document import AnyNode, Mapping, Problem, Scalar, Sequence
from btcp.config.values import MAX_SECONDS

NAME = re.compile(r"[a-z0-9-]{1,32}\Z")
"""The syntax of names of nodes and listeners."""

_INTEGER = re.compile(
    r"0\Z|-?[1-9][0-9]{0,17}\Z"
)  # no leading zeros: 010 would be octal in YAML 1.1
_DECIMAL = re.compile(r"[0-9]{1,9}(?:\.[0-9]{0,9})?\Z")
_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_ENDPOINT = re.compile(r"(?:\[([^\]]*)\]|([^:\[\]]*)):([0-9]{1,5})\Z")
_MAX_SHOWN = 40


def shown(node: AnyNode) -> str:
    """
    Format a document node for a message, shortened if it is long.
    """
    if isinstance(node, Mapping):
        return "a mapping"
    if isinstance(node, Sequence):
        return "a list"
    if node.empty:
        return "nothing"
    text = node.text if len(node.text) <= _MAX_SHOWN else node.text[:_MAX_SHOWN] + "..."
    return repr(text) if node.plain else f"the text {text!r}"


def suggestion(word: str, known: Iterable[str]) -> str:
    """
    Compose the hint for an unknown word: the most similar known word, or all known words.
    """
    words = list(known)
    close = get_close_matches(word, words, 1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(words) or 'none'}"


class Reading:
    """
    A reader of the document nodes of one file, which collects the problems.

    The parameter C{what} of every method is the value's name in problems, such as
    C{listeners.web.port}.

    @ivar file: the file's name.
    @ivar problems: all problems so far.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []

    def complain(self, node: AnyNode, message: str) -> None:
        """
        Record a problem at the line and column of C{node}.
        """
        self.problems.append(Problem(self.file, node.line, node.column, message))

    def _unwanted(self, node: AnyNode, what: str, wanted: str) -> None:
        self.complain(node, f"{what}: want {wanted}, not {shown(node)}")

    def mapping(
        self, node: AnyNode, what: str, known: tuple[str, ...] | None = None
    ) -> dict[str, AnyNode]:
        """
        Read a mapping; null is an empty mapping.

        @param known: the valid keys, or L{None} if keys are names that the user chooses.
        @return: the valid keys and their values.
        """
        if isinstance(node, Scalar) and node.empty:
            return {}
        if not isinstance(node, Mapping):
            self._unwanted(node, what, "'key: value' lines")
            return {}
        found: dict[str, AnyNode] = {}
        first: dict[str, int] = {}
        for key, value in node.pairs:
            if key.text in found:
                self.complain(key, f"{what}: {key.text!r} is already in line {first[key.text]}")
            elif known is None and NAME.match(key.text) is None:
                self._unwanted(key, what, "a name of 1 to 32 of a-z, 0-9 and '-'")
            elif known is not None and key.text not in known:
                hint = suggestion(key.text, known)
                self.complain(key, f"{what}: unknown key {key.text!r}; {hint}")
            else:
                found[key.text] = value
                first[key.text] = key.line
        return found

    def section(
        self, node: AnyNode, what: str, known: tuple[str, ...], required: tuple[str, ...]
    ) -> dict[str, AnyNode]:
        """
        Read a L{mapping} with required keys.
        """
        before = len(self.problems)
        found = self.mapping(node, what, known)
        # A missing key is most often the one that was misspelled, which is reported already.
        if len(self.problems) == before:
            for key in required:
                if key not in found:
                    self.complain(node, f"{what}: {key!r} is missing")
        return found

    def items(self, node: AnyNode, what: str) -> tuple[AnyNode, ...]:
        """
        Read the items of a list that must not be empty.
        """
        if isinstance(node, Sequence) and node.items:
            return node.items
        wanted = "a list of at least one"
        if isinstance(node, Sequence):
            self.complain(node, f"{what}: want {wanted}, not an empty one")
        else:
            self._unwanted(node, what, wanted)
        return ()

    def text(self, node: AnyNode, what: str, wanted: str = "text") -> str | None:
        """
        Read a scalar as text, without YAML's types: a node may be named C{1} or C{no}.

        @param wanted: a description of valid values for the problem.
        """
        if isinstance(node, Scalar) and not node.empty:
            return node.text
        self._unwanted(node, what, wanted)
        return None

    def integer(self, node: AnyNode, what: str, low: int, high: int) -> int | None:
        """
        Read a decimal integer from C{low} to C{high}.
        """
        if isinstance(node, Scalar) and node.plain and _INTEGER.match(node.text):
            value = int(node.text)
            if low <= value <= high:
                return value
        self._unwanted(node, what, f"a whole number from {low} to {high}")
        return None

    def seconds(self, node: AnyNode, what: str) -> float | None:
        """
        Read a duration in seconds, more than 0 and at most L{MAX_SECONDS}.
        """
        if isinstance(node, Scalar) and node.plain and _DECIMAL.match(node.text):
            value = float(node.text)
            if 0 < value <= MAX_SECONDS:
                return value
        self._unwanted(node, what, f"seconds, more than 0 and at most {MAX_SECONDS}")
        return None

    def boolean(self, node: AnyNode, what: str) -> bool | None:
        """
        Read one of YAML 1.1's booleans.
        """
        if isinstance(node, Scalar) and node.plain and node.text.lower() in _BOOLEANS:
            return _BOOLEANS[node.text.lower()]
        self._unwanted(node, what, "true or false")
        return None

    def path(self, node: AnyNode, what: str) -> str | None:
        """
        Read an absolute path.  The daemon changes its working directory, so relative paths
        would be ambiguous.
        """
        text = self.text(node, what, "an absolute path")
        if text is None or text.startswith("/"):
            return text
        self.complain(node, f"{what}: want an absolute path, not {text!r}")
        return None

    def address(self, node: AnyNode, what: str) -> bytes | None:
        """
        Read a unicast IPv4 or IPv6 address.

        @return: the packed address.
        """
        wanted = "an IPv4 or IPv6 address"
        text = self.text(node, what, wanted)
        if text is None:
            return None
        packed = _packed(text)
        if packed is None:
            self._unwanted(node, what, f"{wanted} of one host")
        return packed

    def endpoint(self, node: AnyNode, what: str) -> tuple[str, int] | None:
        """
        Read an address with a port, such as C{192.0.2.1:7311} or C{[2001:db8::1]:7311}.

        @return: the address in its canonical text, and the port.
        """
        wanted = "'address:port' or '[IPv6 address]:port'"
        text = self.text(node, what, wanted)
        if text is None:
            return None
        match = _ENDPOINT.match(text)
        packed = _packed(match[1] or match[2]) if match else None
        if match is None or packed is None or (len(packed) == 16) != (match[1] is not None):
            self._unwanted(node, what, wanted)
            return None
        port = int(match[3])
        if not 0 < port < 65536:
            self.complain(node, f"{what}: want a port from 1 to 65535, not {port}")
            return None
        return str(ip_address(packed)), port


def _packed(text: str) -> bytes | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if address.is_unspecified or address.is_multicast:
        return None
    # A link-local address needs a zone; an IPv4-mapped address is IPv4 on the wire.
    if isinstance(address, IPv6Address) and (
        address.scope_id or address.is_link_local or address.ipv4_mapped
    ):
        return None
    return address.packed
