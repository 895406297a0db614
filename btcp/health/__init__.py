# SPDX-License-Identifier: MIT
"""
Active health checks of this node's origins.
"""
