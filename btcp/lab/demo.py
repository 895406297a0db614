# SPDX-License-Identifier: MIT
"""
The method at work: every node's content through every front-end, over IPv4 and IPv6.

Real curl, real nginx.  What a row claims is taken from where it can be seen: the answering
node from the response, the client's address from the origin's log, and the response's octets
that crossed the front-end from a capture of what left its device for the client.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from attrs import frozen

from btcp.lab.capture import payload
from btcp.lab.cluster import Lab
from btcp.lab.topology import CLIENT, LISTEN_PORT, url
from btcp.table import table

_FILE = "100k"
_LEGEND = """
handoff: the connection was moved to the node that answered, which sent straight to the client
local:   the front-end holds the content itself, so its own answer leaves from there
"""
_HEADING = (
    "URL",
    "front-end",
    "answered",
    "how",
    "origin saw",
    "body",
    "crossed front-end",
    "ms",
    "verdict",
)


@frozen
class Answer:
    """
    One request as the client saw it.

    @ivar holder: the node that holds the content.
    @ivar node: the node that the response names, or empty.
    @ivar port: the client's.
    @ivar problem: why curl failed, or empty.
    @ivar seconds: that it took.
    """

    url: str
    front: str
    family: int
    holder: str
    node: str
    port: int
    body: bytes
    problem: str
    seconds: float


def run(
    keep: bool = False,
    prefix: str = "btcpdemo",
    *,
    delay: float = 0.0,
    rate: float = 0.0,
    loss: float = 0.0,
) -> int:
    """
    Print a row for each request.

    @param keep: leave the lab standing.
    @param delay: this and what follows as of L{Lab.distance}.
    @return: the exit status, 0 if every row is as it should be.
    @raise LabError: the lab cannot stand here.
    """
    lab = Lab(prefix)
    began = time.monotonic()
    lab.up()
    try:
        lab.distance(delay, rate=rate, loss=loss)
        print(f"lab up in {time.monotonic() - began:.1f} s: client, router, nodes a, b, c\n")
        bad = _show(lab)
    finally:
        if not keep:
            lab.down()
    if keep:
        print(f"the lab stands: btcp lab status --prefix {prefix}")
    return 1 if bad else 0


def _show(lab: Lab) -> int:
    """
    @return: how many rows are not as they should be.
    """
    with ExitStack() as stack:
        left = f"tcp src port {LISTEN_PORT}"
        captures = {
            node: stack.enter_context(lab.capture(node, left, outgoing=True, snaplen=128))
            for node in lab.nodes
        }
        answers = list(asked(lab))
    rows = [_row(lab, answer, captures[answer.front]) for answer in answers]
    print(table([_HEADING, *rows]))
    good = sum(row[-1] == "ok" for row in rows)
    print(_LEGEND)
    print(f"{good} of {len(rows)} requests as they should be")
    return len(rows) - good


def asked(lab: Lab) -> Iterator[Answer]:
    """
    Every node's content through every front-end.
    """
    for family in (4, 6):
        for front in lab.nodes:
            for holder in lab.nodes:
                yield ask(lab, family, front, holder)


def ask(lab: Lab, family: int, front: str, holder: str) -> Answer:
    """
    Have the client's curl ask a front-end for something that a certain node holds.
    """
    target = url(front, family, f"/{holder}/{_FILE}")
    facts = "%{stderr}%{local_port}\t%header{x-node}\t%{time_total}\t%{errormsg}"
    done = lab.exec(CLIENT, ["curl", "-s", "-m", "10", "-w", facts, target])
    port, node, seconds, problem = done.stderr.decode().split("\t")
    return Answer(
        target, front, family, holder, node, int(port), done.stdout, problem, float(seconds)
    )


def _row(lab: Lab, answer: Answer, capture: Path) -> tuple[object, ...]:
    seen = _logged(lab, answer)
    to_client = f"dst host {lab.address(CLIENT, answer.family)} and tcp dst port {answer.port}"
    crossed = payload(capture, to_client)
    how = "local" if answer.node == answer.front else "handoff" if answer.node else "-"
    identical = answer.body == lab.content(f"/{answer.holder}/{_FILE}")
    verdict = "; ".join(complaints(lab, answer, seen, crossed, identical)) or "ok"
    body = "identical" if identical else f"{len(answer.body)} octets"
    took = f"{answer.seconds * 1000:.1f}"
    answered = (answer.url, answer.front, answer.node or "-", how)
    return (*answered, seen or "-", body, crossed, took, verdict)


def complaints(lab: Lab, answer: Answer, seen: str, crossed: int, identical: bool) -> Iterator[str]:
    """
    What is not as it should be.

    @param seen: the client's address as the origin saw it.
    @param crossed: octets of the response that left the front-end for the client.
    @param identical: the body is what the holder has on its disk.
    """
    if answer.problem:
        yield answer.problem
    elif not identical:
        yield "not what the node holds"
    if answer.node != answer.holder:
        yield f"not answered by {answer.holder}"
    elif seen != lab.address(CLIENT, answer.family):
        yield "the origin did not see the client"
    if answer.node != answer.front and crossed:
        yield "the response crossed the front-end"
    if answer.node == answer.front and crossed < len(answer.body):
        yield "more was received than counted"


def _logged(lab: Lab, answer: Answer) -> str:
    """
    The client's address as the answering node's origin logged it, or nothing.
    """
    if answer.node not in lab.nodes:
        return ""
    # nginx logs after the client has its answer
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        for request in reversed(lab.requests(answer.node)):
            if request.port == answer.port and answer.url.endswith(request.uri):
                return request.client
        time.sleep(0.01)
    return ""
