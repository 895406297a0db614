# SPDX-License-Identifier: MIT
"""
Client programs that the tests of this package run on a lab's hosts.
"""

from pathlib import Path

_HERE = Path(__file__).parent

RETURNING_CLIENT = _HERE / "returning_client.py"
