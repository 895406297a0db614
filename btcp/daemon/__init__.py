# SPDX-License-Identifier: MIT
"""
The process around a node: its log, its user and capabilities, its signals, its supervisor.
"""
