# SPDX-License-Identifier: MIT
"""
How people ask a running node what it does.
"""
