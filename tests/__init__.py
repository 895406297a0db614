# SPDX-License-Identifier: MIT

import os
import sys

from hypothesis import settings

# Where Python is told to leave no compiled modules behind, each of the hundreds of daemons and
# processes of a run would compile all of BTCP anew, which takes it longer than anything else that
# it does to start.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A deadline would measure the machine, not the property.
settings.register_profile("btcp", deadline=None)
settings.load_profile("btcp")
