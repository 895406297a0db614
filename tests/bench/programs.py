# SPDX-License-Identifier: MIT
"""
How long each tc program takes for a packet.

The kernel runs the program on the same packet again and again (C{BPF_PROG_TEST_RUN}), so all
it needs is in the caches, and what a redirection costs afterwards is not counted.  The smallest
of several averages is taken, for this machine may be busy with others.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from btcp.datapath.ebpf.adoption import Adoption
from btcp.handoff.route import ENDING, Route
from btcp.handoff.splice import Rewriter, Splice
from btcp.lab.programs import LabError
from btcp.wire.build import compose
from btcp.wire.segment import ACK, FIN
from tests.integration.loaded import Loaded, frame, lacking
from tests.integration.program_case import BOTH, LISTENERS, sack, stamps

_ROUNDS = 5
_REPEAT = 50_000
_FLOWS = 4096
"""In the table beside the one that is measured."""

INGRESS, EGRESS, ADOPT = "btcp_ingress", "btcp_egress", "btcp_adopt"


@frozen
class Case:
    """
    @ivar what: the packet is, and what becomes of it.
    @ivar route: that is installed for it.
    """

    program: str
    what: str
    frame: bytes
    route: Route | None = None


def _itself(key: bytes, rewrites: bool) -> Route:
    """
    @return: a route whose packets have its key again when they are through, so that they can
        go through once more; the numbers change each time.
    """
    rule = Splice(old=key, new=key, seq=1, ack=2**32 - 1, tsval=1, tsecr=2, shift=1)
    return Route(key, Rewriter(rule) if rewrites else None, local=False, punt=ENDING, now=0.0)


def cases() -> Iterator[Case]:
    """
    @return: what is measured.
    """
    for version, flow in zip((4, 6), BOTH, strict=True):
        mss = 1460 if version == 4 else 1440
        for program, key in ((INGRESS, flow.request), (EGRESS, flow.answer)):
            rewriting, passing = _itself(key, True), _itself(key, False)
            ack = frame(compose(key, 5, 3000, ACK, 99, stamps()))
            holes = frame(compose(key, 5, 3000, ACK, 99, stamps() + sack(3)))
            data = frame(compose(key, 5, 3000, ACK, 99, stamps(), b"x" * (mss - 12)))
            bare = frame(compose(key, 5, 3000, ACK, 99))
            end = frame(compose(key, 5, 3000, FIN | ACK, 99, stamps()))
            foreign = frame(compose(flow.forwarded, 5, 3000, ACK, 99, stamps()))
            yield Case(program, f"IPv{version} of no flow", foreign)
            yield Case(program, f"IPv{version} for the daemon", end, rewriting)
            yield Case(program, f"IPv{version} not rewritten", ack, passing)
            yield Case(program, f"IPv{version} without options", bare, rewriting)
            yield Case(program, f"IPv{version} with timestamps", ack, rewriting)
            yield Case(program, f"IPv{version} with timestamps, data", data, rewriting)
            yield Case(program, f"IPv{version} with timestamps, 3 SACK blocks", holes, rewriting)


def measured() -> list[tuple[str, str, int]]:
    """
    @return: program, packet and nanoseconds.
    @raise LabError: what is missing.
    """
    lacks = lacking()
    if lacks:
        raise LabError("; ".join(lacks))
    loaded = Loaded(LISTENERS, _FLOWS)
    try:
        return list(_tc(loaded)) + list(_adopting())
    finally:
        loaded.close()


def _tc(loaded: Loaded) -> Iterator[tuple[str, str, int]]:
    for number in range(_FLOWS):
        key = BOTH[1].request[:-4] + (1024 + number).to_bytes(2, "big") + b"\0\x50"
        loaded.install(_itself(key, True))
    for case in cases():
        if case.route is not None:
            loaded.install(case.route)
        runs = (loaded.nanoseconds(case.program, case.frame, _REPEAT) for _ in range(_ROUNDS))
        yield case.program, case.what, min(runs)


def _adopting() -> Iterator[tuple[str, str, int]]:
    adopting = Adoption().load()
    other = frame(compose(BOTH[0].forwarded, 5, 3000, ACK, 99, stamps()))
    spans = (adopting.run(ADOPT, other, repeat=_REPEAT).nanoseconds for _ in range(_ROUNDS))
    yield ADOPT, "IPv4 that nothing is to be made of", min(spans)
