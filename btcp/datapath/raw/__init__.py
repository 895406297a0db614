# SPDX-License-Identifier: MIT
"""
The datapath that works on any Linux: a TAP device, packet and raw sockets, one
nftables table.  See C{docs/decisions/raw-datapath.md}.
"""
