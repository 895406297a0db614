# SPDX-License-Identifier: MIT
"""
Handoffs that were withdrawn before they were read.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.protocols.amp import ASK, COMMAND, AmpBox

from btcp.control.commands import Handoff, Terminate
from btcp.control.fields import abandoned_ids, handoff_id


def withdrawn(boxes: Sequence[AmpBox], front: str) -> frozenset[bytes]:
    """
    Find the handoffs that a later box of the same batch gives up.

    A front-end gives up a handoff whose time is over, and has asked another node by then.  A
    back-end that was stopped, or had too much to do, would otherwise work off all of them first.

    @param boxes: in the order in which they came.
    @param front: the node that sent them.
    @return: tags of questions.
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
