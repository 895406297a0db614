# SPDX-License-Identifier: MIT
"""
The sans-IO core: takes packets, messages and the time, and returns actions.
"""
