# SPDX-License-Identifier: MIT
"""
A cluster on one machine, for the demo, the tests and the benchmarks alike.
"""
