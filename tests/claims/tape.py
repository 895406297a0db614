# SPDX-License-Identifier: MIT
"""
Captures at several places at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from attrs import define, field

from btcp.datapath.raw.datapath import TAP
from btcp.lab.cluster import Lab
from btcp.lab.topology import CLIENT
from tests.claims.mirror import MIRROR, below_tcp, mirrored
from tests.claims.packets import Seen, read
from tests.modes import Mode

Place = tuple[str, str]
"""Host and device."""


def places(nodes: Iterable[str], mode: Mode) -> list[Place]:
    """
    All that there is to see of connections of these nodes: at the client, on the nodes'
    network, and between BTCP and each node's TCP.
    """
    devices = dict.fromkeys(("eth0", TAP, below_tcp(mode)))
    return [(CLIENT, "eth0"), *((node, device) for node in nodes for device in devices)]


@define
class Tape:
    """
    What was captured, once the recording is over.
    """

    paths: dict[Place, Path] = field(factory=dict)
    _seen: dict[Place, list[Seen]] = field(factory=dict)

    def at(self, host: str, device: str = "eth0") -> list[Seen]:
        """
        The TCP segments that passed there, in order.
        """
        place = host, device
        if place not in self._seen:
            self._seen[place] = read(self.paths[place])
        return self._seen[place]


@contextmanager
def recording(
    lab: Lab, where: Iterable[Place], filter: str = "tcp", snaplen: int = 262144
) -> Iterator[Tape]:
    """
    Record while the body runs; the tape can be read after that.

    @param filter: as in pcap-filter(7).
    """
    where = list(where)
    tape = Tape()
    with ExitStack() as stack:
        stack.enter_context(mirrored(lab, (host for host, device in where if device == MIRROR)))
        captures = [
            lab.capture(host, filter, device=device, snaplen=snaplen) for host, device in where
        ]
        with ThreadPoolExecutor(len(captures)) as pool:
            paths = list(pool.map(stack.enter_context, captures))
        tape.paths.update(zip(where, paths, strict=True))
        yield tape
