# SPDX-License-Identifier: MIT
"""
Linter for the language of docstrings, comments and names.

Two rules.  A docstring opens with a noun phrase or an imperative, not with a question word.  A word
that docs/glossary.md lists as retired appears in no docstring, comment or name of a definition.

Files that predate the rules are listed in C{tools/prose.ratchet}, each with the number of findings
that it may still have.  A number can only be lowered: C{python -m tools.prose --shrink} does so.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from attrs import frozen

from tools.glossary import GLOSSARY, ROOT, read_glossary

RATCHET = Path(__file__).with_suffix(".ratchet")
TREES = ("btcp", "tests", "tools", "twisted")

_QUESTION = re.compile(r"(What|Who|Whose|Whom|Whoever|Whatever|How|Whether|When|Where|Which|Why)\b")
_COMMENT_IN_C = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")

_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@frozen(order=True)
class Finding:
    """
    @ivar path: relative to the root of the tree.
    @ivar line: counted from 1.
    @ivar problem: what is wrong, and what would be right.
    """

    path: str
    line: int
    problem: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.problem}"


class ProseRules:
    """
    The rules, for a set of retired words.
    """

    def __init__(self, retired: Mapping[str, str]) -> None:
        """
        @param retired: retired word to the term that replaces it; words are in lower case.
        """
        self._retired = retired
        words = "|".join(map(re.escape, sorted(retired))) or "(?!)"
        self._word = re.compile(rf"\b({words})\b", re.IGNORECASE)

    def check_python(self, path: str, source: str) -> Iterator[Finding]:
        """
        Check the docstrings, comments and definitions of a Python file.
        """
        for node in ast.walk(ast.parse(source)):
            if not isinstance(node, _Documented):
                continue
            if not isinstance(node, ast.Module):
                yield from self._check_name(path, node.lineno, node.name)
            docstring = ast.get_docstring(node, clean=False)
            if docstring is not None:
                yield from self._check_docstring(path, node.body[0].lineno, docstring)
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                yield from self._check_words(path, token.start[0], token.string)

    def check_c(self, path: str, source: str) -> Iterator[Finding]:
        """
        Check the comments of a C file.
        """
        for match in _COMMENT_IN_C.finditer(source):
            line = source.count("\n", 0, match.start()) + 1
            yield from self._check_words(path, line, match.group())

    def _check_docstring(self, path: str, line: int, docstring: str) -> Iterator[Finding]:
        opening = _QUESTION.match(docstring.lstrip())
        if opening is not None:
            problem = f"docstring opens with {opening[1]!r}; use a noun phrase or an imperative"
            yield Finding(path, line, problem)
        yield from self._check_words(path, line, docstring)

    def _check_words(self, path: str, line: int, text: str) -> Iterator[Finding]:
        for match in self._word.finditer(text):
            at = line + text.count("\n", 0, match.start())
            yield Finding(path, at, f"retired word {match[1]!r}; {self._advice(match[1])}")

    def _check_name(self, path: str, line: int, name: str) -> Iterator[Finding]:
        for part in _PART.findall(name):
            if part.lower() in self._retired:
                yield Finding(path, line, f"retired word in name {name!r}; {self._advice(part)}")

    def _advice(self, word: str) -> str:
        return f"the glossary has {self._retired[word.lower()]!r}"


def retired_words() -> dict[str, str]:
    """
    Retired words of docs/glossary.md, each with the term that replaces it.
    """
    terms = read_glossary(GLOSSARY.read_text())
    return {word.lower(): term.name for term in terms for word in term.retired}


def source_files() -> list[Path]:
    """
    All files that the rules apply to.
    """
    found = (path for tree in TREES for path in (ROOT / tree).rglob("*"))
    return sorted(path for path in found if path.suffix in {".py", ".c", ".h"})


def check_tree(rules: ProseRules) -> list[Finding]:
    """
    Check all files of the project.

    @return: findings in the order of the files.
    """
    findings: list[Finding] = []
    for path in source_files():
        name, source = str(path.relative_to(ROOT)), path.read_text()
        check = rules.check_python if path.suffix == ".py" else rules.check_c
        findings += sorted(check(name, source))
    return findings


def read_ratchet(text: str) -> dict[str, int]:
    """
    Parse a ratchet file.

    @param text: lines of a path and a number; empty lines and lines with C{#} first are ignored.
    @return: path to the number of findings that this file may have.  Git merges the file by union
        (C{.gitattributes}), so a path may be there twice; the lowest number counts.
    """
    allowed: dict[str, int] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            path, number = line.split()
            allowed[path] = min(int(number), allowed.get(path, int(number)))
    return allowed


def write_ratchet(allowed: Mapping[str, int]) -> str:
    """
    Inverse of L{read_ratchet}; files with no finding are left out.
    """
    head = "# Findings that a file may still have; lowered by python -m tools.prose --shrink.\n"
    return head + "".join(f"{path} {n}\n" for path, n in sorted(allowed.items()) if n)


def excess(findings: Iterable[Finding], allowed: Mapping[str, int]) -> list[Finding]:
    """
    @return: the findings of files that have more of them than they may.
    """
    findings = list(findings)
    counts = Counter(finding.path for finding in findings)
    return [each for each in findings if counts[each.path] > allowed.get(each.path, 0)]


def main(arguments: list[str]) -> int:
    """
    @return: exit status: 1 if a file has more findings than it may, or, with C{--strict}, fewer.
    """
    parser = ArgumentParser(prog="python -m tools.prose", description="Check the language.")
    parser.add_argument("--shrink", action="store_true", help="lower the ratchet to what is found")
    parser.add_argument("--all", action="store_true", help="print findings that are allowed, too")
    parser.add_argument("--strict", action="store_true", help="fail if the ratchet can be lowered")
    options = parser.parse_args(arguments)
    findings = check_tree(ProseRules(retired_words()))
    allowed = read_ratchet(RATCHET.read_text())
    counts = Counter(finding.path for finding in findings)
    lowered = {path: min(number, counts[path]) for path, number in allowed.items()}
    if options.shrink:
        RATCHET.write_text(write_ratchet(lowered))
    beyond = excess(findings, allowed)
    for finding in findings if options.all else beyond:
        print(finding)
    for path in sorted({finding.path for finding in beyond}):
        print(f"{path}: {counts[path]} findings, {allowed.get(path, 0)} allowed")
    left = sum(lowered.values())
    print(f"prose: {len(findings)} findings, {left} of them in the ratchet")
    loose = lowered != allowed and not options.shrink
    if loose:
        print("prose: the ratchet can be lowered: python -m tools.prose --shrink")
    return 1 if beyond or (loose and options.strict) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
