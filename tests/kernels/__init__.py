# SPDX-License-Identifier: MIT
"""
Tests on stock kernels, each booted in QEMU with this machine's files inside.
"""
