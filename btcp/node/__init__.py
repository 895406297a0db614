# SPDX-License-Identifier: MIT
"""
One node of the cluster: composes the core, its datapath and its links.
"""
