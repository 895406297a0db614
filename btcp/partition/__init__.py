# SPDX-License-Identifier: MIT
"""
Content placement: the partition map (request to replica set) and the policies that rank a
replica set's nodes.

Maps are immutable; the only mutable state is that of the policies (credits, random numbers).
A reload of the configuration replaces all of it.
"""
