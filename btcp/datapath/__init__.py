# SPDX-License-Identifier: MIT
"""
What moves packets: four things a datapath does, and several ways to do them.
"""
