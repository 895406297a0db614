# SPDX-License-Identifier: MIT
"""
What the daemon has to do with connections that the kernels of two nodes hand to each other: say
beforehand who gets what, and clear away afterwards.  See C{docs/decisions/express.md}.
"""
