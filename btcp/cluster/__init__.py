# SPDX-License-Identifier: MIT
"""
The state of the cluster as one node sees it: membership, load, placement, operators' decisions.
"""
