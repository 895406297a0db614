# SPDX-License-Identifier: MIT
"""
The management interface of a running node: protocol, command grammar, handlers and endpoints.
"""
