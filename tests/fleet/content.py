# SPDX-License-Identifier: MIT
"""
What clients ask for, and where rendezvous hashing puts it.

Content is ranked by the functions of L{btcp.partition.scatter} themselves, given arrays of
numbers in place of numbers; only the sort is left out, for the first place or two.
L{check} holds the result against L{Consistent<btcp.partition.consistent.Consistent>}.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from btcp.content.contract import RequestKey
from btcp.partition.consistent import Consistent
from btcp.partition.contract import ReplicaSet, Snapshot
from btcp.partition.scatter import BITS, digest, scatter

HOST = "www.example"
_ROWS = 250_000
"""Numbers that are worked on at once."""

Counts = NDArray[np.int64]


def names(count: int) -> tuple[str, ...]:
    """
    @return: of that many nodes.
    """
    return tuple(f"n{number}" for number in range(count))


def key_of(content: int) -> RequestKey:
    """
    @return: the request for a content.
    """
    return RequestKey("GET", HOST, f"/{content}")


@define
class Catalogue:
    """
    Contents 0, 1, 2 ... of falling popularity.

    @ivar exponent: of Zipf's law; 0.6 to 0.9 was seen at proxies (Breslau et al., 1999).
    """

    contents: int
    exponent: float
    shares: NDArray[np.float64] = field(init=False)

    def __attrs_post_init__(self) -> None:
        weights = np.arange(1, self.contents + 1) ** -self.exponent
        self.shares = weights / weights.sum()

    def asked(self, requests: int, random: np.random.Generator) -> Counts:
        """
        @return: how many of the requests are for each content.
        """
        return random.multinomial(requests, self.shares)


def numbers(contents: int) -> NDArray[np.uint64]:
    """
    @return: what the policy makes of each content's host and path.
    """
    found = (digest(key.host + key.path) for key in map(key_of, range(contents)))
    return np.fromiter(found, np.uint64, contents)


def placed(
    contents: NDArray[np.uint64], nodes: tuple[str, ...], weights: NDArray[np.float64]
) -> tuple[Counts, Counts]:
    """
    @param contents: see L{numbers}.
    @return: the index of the node that is first for each content, and of the second.
    """
    seeds = np.array([digest(node) for node in nodes], np.uint64)
    firsts, seconds = [], []
    for part in _parts(contents, max(_ROWS // len(nodes), 1)):
        scores = _scores(part[:, None] ^ seeds[None, :], weights)
        first = scores.argmax(axis=1)
        scores[np.arange(len(part)), first] = scores.min() - 1
        firsts.append(first)
        seconds.append(scores.argmax(axis=1))
    return np.concatenate(firsts), np.concatenate(seconds)


def _parts(array: NDArray[np.uint64], size: int) -> Iterator[NDArray[np.uint64]]:
    for start in range(0, len(array), size):
        yield array[start : start + size]


def _scores(mixed: NDArray[np.uint64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(over="ignore"):  # modulo 2**64 is what is wanted
        words: Any = scatter(mixed)  # type: ignore[arg-type]
    scores: NDArray[np.float64] = np.log((words.astype(np.float64) + 1) / (1 << BITS)) / weights
    return scores


def check(
    sample: Counts,
    found: tuple[Counts, Counts],
    nodes: tuple[str, ...],
    weights: NDArray[np.float64],
) -> None:
    """
    @param sample: some contents.
    @param found: what L{placed} said of all of them.
    @raise ValueError: the policy says otherwise.
    """
    policy, replicas = Consistent(), ReplicaSet(nodes, "/")
    snapshot = Snapshot(dict(zip(nodes, weights.tolist(), strict=True)))
    for content in sample.tolist():
        order = policy.rank(replicas, key_of(content), snapshot)
        if order[:2] != [nodes[places[content]] for places in found]:
            raise ValueError(f"content {content} is placed otherwise by the policy")
