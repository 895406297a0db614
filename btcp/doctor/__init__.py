# SPDX-License-Identifier: MIT
"""
C{btcp doctor}: examines a host, reports problems, and lists the commands that solve them.
"""
