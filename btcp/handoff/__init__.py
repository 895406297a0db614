# SPDX-License-Identifier: MIT
"""
The sans-IO core: takes packets, messages and the time; returns what to do.
"""
