# SPDX-License-Identifier: MIT
"""
Whole connections, as in C{tests/unit/test_handoff_simulation.py}; where the seeds there
are always the same, Hypothesis looks for new ones, and for the simplest that fails.
"""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.simulation.scenario import draw


class SimulationProperties(SynchronousTestCase):
    """
    Clients, kernels and networks of all kinds.
    """

    @settings(max_examples=100)
    @given(st.randoms(use_true_random=False))
    def test_everything_arrives(self, random: Random) -> None:
        scenario = draw(random)
        self.assertEqual(scenario.run().failures(), [], scenario)
