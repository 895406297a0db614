# SPDX-License-Identifier: MIT
"""
Detection of handoffs that the front-end withdrew before the back-end read them.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.protocols.amp import ASK, COMMAND, AmpBox

from btcp.control.commands import Handoff, Terminate
from btcp.control.fields import abandoned_ids, handoff_id


def withdrawn(boxes: Sequence[AmpBox], front: str) -> frozenset[bytes]:
    """
    Find the handoffs that a later box of the same batch abandons.

    A front-end abandons a handoff whose timeout is over, and has tried another node by then.
    Without this check, a back-end that was stopped or overloaded would process all of them first.

    @param boxes: boxes in the order in which they arrived.
    @param front: the node that sent them.
    @return: the tags (C{_ask}) of the abandoned handoffs.
    """
    given_up: set[bytes] = set()
    tags: set[bytes] = set()
    for box in reversed(boxes):
        command = box.get(COMMAND)
        if command == Terminate.commandName and box.get(b"front") == front.encode():
            given_up.update(abandoned_ids(box))
        elif command == Handoff.commandName and given_up and handoff_id(box) in given_up:
            tags.add(box.get(ASK, b""))
    return frozenset(tags)
