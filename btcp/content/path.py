# SPDX-License-Identifier: MIT
"""
Paths as routing compares them: decoded, slashes merged, dot segments resolved.

This is what nginx does before it looks for a C{location}, in the same order: escapes
are decoded once and what they stand for counts as if written plainly, then empty
segments vanish, then C{.} and C{..} are resolved.
"""

from __future__ import annotations

import re

from btcp.content.contract import ContentError

_ESCAPE = re.compile(rb"%(.{0,2})", re.DOTALL)
_HEX_PAIR = re.compile(rb"[0-9A-Fa-f]{2}\Z")


def _decoded(match: re.Match[bytes]) -> bytes:
    pair = match[1]
    if _HEX_PAIR.match(pair) is None or pair == b"00":
        raise ContentError(400, "invalid percent escape in the path")
    return bytes((int(pair, 16),))


def resolved_path(path: bytes) -> bytes:
    """
    Merge slashes and resolve dot segments of an absolute, decoded path.

    @raise ContentError: 400, it leads above the root or differs from origin to origin.
    """
    kept: list[bytes] = []
    # Each segment decides whether the path ends as a directory if it is the last.
    directory = True
    for segment in path.split(b"/")[1:]:
        name, semicolon, _ = segment.partition(b";")
        if name in (b".", b".."):
            if semicolon:
                # Servlet containers strip ";..." and then see a dot segment, others
                # see a name: no answer suits every origin.
                raise ContentError(400, "dot segment with parameters in the path")
            if name == b".." and not kept:
                raise ContentError(400, "path leads above the root")
            if name == b"..":
                kept.pop()
        elif segment:
            kept.append(segment)
        directory = segment in (b"", b".", b"..")
    return b"/" + b"/".join(kept) + (b"/" if directory and kept else b"")


def routing_path(target: bytes) -> str:
    """
    The path of a request target, as rules are compared with it.

    @param target: a path that starts with a slash, with or without a query.
    @return: the path without query.  Octets that are not UTF-8 are surrogate escapes.
    @raise ContentError: 400 for a fragment, an invalid escape, C{%00}, or a path above
        the root.
    """
    if b"#" in target:
        raise ContentError(400, "fragment in the request target")
    path = target.partition(b"?")[0]
    if b"%" in path:
        path = _ESCAPE.sub(_decoded, path)
    if b"//" in path or b"/." in path:
        path = resolved_path(path)
    return path.decode("utf-8", "surrogateescape")
