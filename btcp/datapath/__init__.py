# SPDX-License-Identifier: MIT
"""
Datapaths: capture, forward and send packets for the core, by raw sockets or by eBPF programs.
"""
