# SPDX-License-Identifier: MIT
"""
A result as pictures.  Needs matplotlib: C{pip install btcp[bench]}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from tests.bench.metrics import METRICS
from tests.bench.ratios import peers_of
from tests.bench.result import Outcome, Result
from tests.bench.works import Work

_INCHES, _PER_BAR = 7.0, 0.36
_PEER, _MODE = "#9aa5b1", "#1f6fb2"


def draw(result: Result, works: Sequence[Work], directory: Path) -> None:
    """
    A file for each work: a bar for each system, its least and its most as whiskers.
    """
    matplotlib.rcParams["svg.hashsalt"] = "btcp"  # the same result, the same file
    matplotlib.rcParams["svg.fonttype"] = "none"
    directory.mkdir(parents=True, exist_ok=True)
    for work in works:
        figure = _bars(work, result.works[work.name])
        figure.savefig(directory / f"{work.name}.svg", metadata={"Date": None})


def _bars(work: Work, outcomes: Mapping[str, Outcome]) -> Figure:
    metrics = [work.primary, *({"hits", "kept"} & set(work.shown) - {work.primary})]
    height = _PER_BAR * len(outcomes) + 1.0
    figure = Figure(figsize=(_INCHES, height), layout="constrained")
    axes = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    peers = peers_of(outcomes)
    for axis, metric in zip(axes, metrics, strict=True):
        for place, (system, outcome) in enumerate(outcomes.items()):
            spread = outcome.spread(metric)
            if spread is None:
                axis.text(0, place, " no figure: errors", va="center", fontsize=8)
                continue
            low, high = spread.middle - spread.least, spread.most - spread.middle
            colour = _PEER if system in peers else _MODE
            axis.barh(place, spread.middle, xerr=[[low], [high]], color=colour, capsize=3)
        axis.set_xlabel(METRICS[metric].title)
        axis.set_xlim(left=0)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(range(len(outcomes)), list(outcomes))
    axes[0].invert_yaxis()
    figure.suptitle(work.title, fontsize=10)
    return figure
