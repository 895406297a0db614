# SPDX-License-Identifier: MIT
"""
TCP/IP wire format: header views, options, checksums, sequence number arithmetic, segmentation.
"""
