# SPDX-License-Identifier: MIT
"""
The daemon's part in handoffs that the kernel decides: provides the decisions in advance, and cleans
up after the connections.  See C{docs/decisions/express.md}.
"""
