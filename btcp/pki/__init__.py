# SPDX-License-Identifier: MIT
"""
Certificates: names of nodes and operators, mutual TLS, and a small certificate authority.
"""
