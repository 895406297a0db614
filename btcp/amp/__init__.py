# SPDX-License-Identifier: MIT
"""
An implementation of AMP that bounds the memory that a peer can make a connection use.
"""
