# SPDX-License-Identifier: MIT
"""
From a connection's first octets to the key the partition map is asked with.
"""
