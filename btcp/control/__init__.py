# SPDX-License-Identifier: MIT
"""
The control channel: the protocol between the nodes of a cluster.
"""
