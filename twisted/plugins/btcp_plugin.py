# SPDX-License-Identifier: MIT
"""
C{twistd btcp}.
"""

from twisted.application.service import ServiceMaker

btcp = ServiceMaker(
    "BTCP",
    "btcp.tap",
    "A content-aware load balancer that hands live TCP connections over.",
    "btcp",
)
