# SPDX-License-Identifier: MIT
"""
Octets and headers: sequence arithmetic, checksums, views of IP and TCP headers.
"""
