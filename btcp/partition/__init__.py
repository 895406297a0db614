# SPDX-License-Identifier: MIT
"""
Which nodes hold what, and which of them is asked: from key to replica set to node.

Everything here is a pure value or a counter; a reload replaces all of it at once.
"""
