# SPDX-License-Identifier: MIT
"""
C{btcp doctor}: looks at a host and says what is wrong and what to type.
"""
