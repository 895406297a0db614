# SPDX-License-Identifier: MIT
"""
The control channel: how the nodes of a cluster speak to each other.
"""
