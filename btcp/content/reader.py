# SPDX-License-Identifier: MIT
"""
What readers of every content have in common.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from btcp.content.contract import ContentError, RequestKey


class Reader(ABC):
    """
    A L{btcp.content.contract.ContentReader} that remembers what it has found.

    @ivar limit: how many octets it takes at most.
    """

    __slots__ = ("_error", "_key", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._key: RequestKey | None = None
        self._error: ContentError | None = None

    def feed(self, data: bytes | memoryview) -> RequestKey | None:
        """
        See L{btcp.content.contract.ContentReader.feed}.
        """
        if self._error is not None:
            raise self._error
        if self._key is None:
            try:
                self._key = self._read(data)
            except ContentError as error:
                self._error = error
                self._forget()
                raise
            if self._key is not None:
                self._forget()
        return self._key

    @abstractmethod
    def _read(self, data: bytes | memoryview) -> RequestKey | None:
        """
        The same, as long as there was neither a key nor an error.
        """

    @abstractmethod
    def _forget(self) -> None:
        """
        Of what came so far, nothing is needed any more.
        """
