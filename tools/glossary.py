# SPDX-License-Identifier: MIT
"""
Reader of docs/glossary.md, and of the public names that the code has.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from attrs import frozen

ROOT = Path(__file__).parents[1]
GLOSSARY = ROOT / "docs" / "glossary.md"

_QUOTED = re.compile(r"`([^`]+)`")
_COLUMNS = 4


@frozen
class Term:
    """
    One row of the glossary.

    @ivar name: the term.
    @ivar meaning: its definition.
    @ivar in_code: names in C{btcp/} that stand for it.
    @ivar retired: words that may not be used for it.
    """

    name: str
    meaning: str
    in_code: tuple[str, ...]
    retired: tuple[str, ...]


def read_glossary(text: str) -> list[Term]:
    """
    Parse the tables of a glossary.

    @param text: Markdown; each row of a table has the columns term, meaning, in the code, retired.
    @raise ValueError: a row has another number of columns.
    """
    terms = []
    for line in text.splitlines():
        if not line.startswith("|") or line.startswith(("| term ", "|---", "| ---")):
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) != _COLUMNS:
            raise ValueError(f"a row of the glossary needs {_COLUMNS} columns: {line}")
        name, meaning, in_code, retired = cells
        terms.append(Term(name, meaning, _quoted(in_code), _quoted(retired)))
    return terms


def _quoted(cell: str) -> tuple[str, ...]:
    return tuple(_QUOTED.findall(cell))


def public_names(paths: Iterable[Path]) -> set[str]:
    """
    Names of modules, classes, functions, attributes and constants that the files define, without
    those that begin with an underscore.

    @param paths: Python files.
    """
    names = set()
    for path in paths:
        names.add(path.parent.name if path.stem == "__init__" else path.stem)
        names.update(_defined(ast.parse(path.read_text())))
    return {name for name in names if not name.startswith("_")}


def _defined(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                yield node.name
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case ast.Assign(targets=targets):
                yield from (target.id for target in targets if isinstance(target, ast.Name))
            case ast.Attribute(attr=name, ctx=ast.Store()):
                yield name
