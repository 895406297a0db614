# SPDX-License-Identifier: MIT
"""
One host of the cluster: the core, its datapath and its links, composed.
"""
