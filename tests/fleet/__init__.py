# SPDX-License-Identifier: MIT
"""
A fleet that nobody has: a thousand nodes, in virtual time, by the code that real nodes run.

C{python -m tests.fleet} computes and writes C{docs/scale.md}.  What is BTCP's own code and
what is arithmetic about it is said there, part by part, and in the modules here.
"""
