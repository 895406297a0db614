# SPDX-License-Identifier: MIT
"""
A cluster in memory: hosts with a TCP of their own, wires that lose, double and
reorder, and a time that passes as fast as it is computed.

Everything random comes from one seed, so each run can be had again.
"""
