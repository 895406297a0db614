# SPDX-License-Identifier: MIT
"""
What readers of content answer.
"""

from __future__ import annotations

from collections.abc import Iterable

from btcp.content.contract import ContentError, ContentReader, RequestKey

Answer = RequestKey | tuple[int, str] | None


def answer(reader: ContentReader, pieces: Iterable[bytes]) -> Answer:
    """
    The first answer of a reader that is not "more".
    """
    for piece in pieces:
        try:
            key = reader.feed(piece)
        except ContentError as error:
            assert error.status in (400, 431)
            return error.status, error.reason
        if key is not None:
            return key
    return None
