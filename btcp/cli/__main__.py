# SPDX-License-Identifier: MIT
"""
C{python -m btcp.cli}: the command C{btcp}.
"""

import sys

from btcp.cli.main import main

sys.exit(main())
