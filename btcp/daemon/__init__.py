# SPDX-License-Identifier: MIT
"""
The process that runs a node: log file, user and capabilities, signals, notification of systemd.
"""
