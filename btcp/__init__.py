# SPDX-License-Identifier: MIT
"""
BTCP: a load balancer that moves live TCP connections to the node that should answer.
"""
