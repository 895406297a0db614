# SPDX-License-Identifier: MIT
"""
Whole connections, as in C{tests/unit/test_handoff_simulation.py}; where the seeds there
are always the same, Hypothesis looks for new ones, and for the simplest that fails.
"""

from __future__ import annotations

from random import Random

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.simulation.kernel import Reporting
from tests.simulation.network import MTU
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

    @settings(max_examples=50)
    @given(st.randoms(use_true_random=False), st.sampled_from((0.0, 0.01, 0.25, 1.0)))
    def test_everything_arrives_where_the_kernel_moves_it(
        self, random: Random, late: float
    ) -> None:
        """
        However late it says so.
        """
        reporting = Reporting(late=late)
        scenario = evolve(draw(random), reporting=reporting, mtu_to_client=MTU)
        self.assertEqual(scenario.run().failures(), [], scenario)
