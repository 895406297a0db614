# SPDX-License-Identifier: MIT
"""
Links from the API documentation to that of Python, Twisted and other libraries, made without
a network: C{pydoctor --system-class tools.api.LinkedSystem}.
"""

from __future__ import annotations

import builtins
import sys
from pydoc import ErrorDuringImport, locate
from typing import Any

from pydoctor.model import System

_PYTHON = "https://docs.python.org/3"
_TWISTED = "https://docs.twisted.org/en/stable/api"


class LinkedSystem(System):  # type: ignore[misc]
    """
    A documented system in which the names of libraries resolve if they can be imported.
    """

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self.intersphinx.getLink = external_link


def external_link(name: str) -> str | None:
    """
    @param name: dotted name, or that of a builtin.
    @return: the page that documents it, or L{None} if no library has it.
    """
    if name in {"None", "True", "False"}:
        return f"{_PYTHON}/library/constants.html#{name}"
    if hasattr(builtins, name):
        return f"{_PYTHON}/library/builtins.html"
    package = name.partition(".")[0]
    if package == "btcp" or not _importable(name):
        return None
    if package in sys.stdlib_module_names:
        return f"{_PYTHON}/library/{package}.html"
    if package == "twisted":
        return f"{_TWISTED}/{name}.html"
    return f"https://pypi.org/project/{package}/"


def _importable(name: str) -> bool:
    try:
        return locate(name) is not None
    except ErrorDuringImport:
        return False
