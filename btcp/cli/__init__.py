# SPDX-License-Identifier: MIT
"""
The command C{btcp} and its subcommands.
"""
