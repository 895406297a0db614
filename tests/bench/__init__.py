# SPDX-License-Identifier: MIT
"""
C{make bench}: BTCP beside nginx, HAProxy and a direct connection, on one machine, in one run.

What is measured, and how, is in C{docs/benchmark.md}.
"""
