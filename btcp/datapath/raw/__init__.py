# SPDX-License-Identifier: MIT
"""
The raw datapath, which works on any Linux kernel: a TAP device, packet and raw sockets, and an
nftables table.  See C{docs/decisions/raw-datapath.md}.
"""
