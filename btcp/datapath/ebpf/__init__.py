# SPDX-License-Identifier: MIT
"""
The raw datapath with its spliced flows moved into the kernel: tc programs do what
L{Route.take<btcp.handoff.route.Route.take>} does, everything else comes up.
"""
