# SPDX-License-Identifier: MIT
"""
The section C{log}: format, level and file of the log, and the choice of access log entries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from btcp.config.document import AnyNode
from btcp.config.keys import KEYS
from btcp.config.reading import Reading, suggestion
from btcp.config.values import LOG_CONNECTIONS, LOG_FORMATS, LOG_LEVELS, Log


def read_log(node: AnyNode, reading: Reading) -> Log:
    """
    Read the section.  Keys with invalid values have their defaults in the result; C{reading}
    receives the problems.
    """
    found = reading.mapping(node, "log", KEYS["log"])
    file = reading.path(found["file"], "log.file") if "file" in found else None
    return Log(
        format=_choice("format", LOG_FORMATS, found, reading),
        level=_choice("level", LOG_LEVELS, found, reading),
        connections=_choice("connections", LOG_CONNECTIONS, found, reading) or "all",
        file=file,
    )


def _choice(
    key: str, known: Sequence[str], found: Mapping[str, AnyNode], reading: Reading
) -> str | None:
    if key not in found:
        return None
    what = f"log.{key}"
    word = reading.text(found[key], what, f"one of {', '.join(known)}")
    if word is not None and word not in known:
        reading.complain(found[key], f"{what}: unknown {key} {word!r}; {suggestion(word, known)}")
    return word
