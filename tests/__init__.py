# SPDX-License-Identifier: MIT

from hypothesis import settings

# A deadline would measure the machine, not the property.
settings.register_profile("btcp", deadline=None)
settings.load_profile("btcp")
