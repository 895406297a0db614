# SPDX-License-Identifier: MIT
"""
Certificates: the names in them, whom they are trusted to be, and a small authority.
"""
