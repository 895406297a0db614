# SPDX-License-Identifier: MIT
"""
Whether origins answer: checks that ask them, and what their refusals say.
"""
