# SPDX-License-Identifier: MIT
"""
AMP with bounds on what a peer can make a connection store.
"""
