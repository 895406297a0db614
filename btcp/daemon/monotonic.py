# SPDX-License-Identifier: MIT
"""
A reactor whose timers do not depend on the wall clock.

Twisted's reactors take the time of delayed calls from C{time.time()}.  When the wall clock is
set back (a host without a real-time clock gets its time from the network, a virtual machine is
resumed, an operator corrects the date), no delayed call runs until the clock has made up for
the step; when it is set forward, every timeout expires at once.
"""

from __future__ import annotations

import time
from typing import Any


def use_monotonic_clock(reactor: Any) -> None:
    """
    Make a reactor measure time with C{CLOCK_MONOTONIC} from now on.

    Calls that are already scheduled keep their remaining delay.

    @param reactor: a L{twisted.internet.base.ReactorBase}.
    """
    difference = time.monotonic() - reactor.seconds()
    scheduled = reactor.getDelayedCalls()
    reactor.seconds = time.monotonic
    for call in scheduled:
        # The same shift for all: the reactor's heap stays ordered.
        call.time += difference
        call.seconds = time.monotonic
