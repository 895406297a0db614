# SPDX-License-Identifier: MIT
"""
Generator of man pages and shell completions from the definitions that C{--help} prints.

C{python -m tools.manual DIRECTORY} writes C{man/*.1}, C{bash/btcp} and C{zsh/_btcp} there.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

from attrs import frozen

from btcp.admin.grammar import Form
from btcp.admin.syntax import FORMS
from btcp.cli.main import Btcp
from btcp.cli.management import Verb
from btcp.cli.options import Command


@frozen
class Option:
    """
    @ivar names: with their dashes, the short one first.
    @ivar takes: name of its value, or the empty string.
    @ivar default: printed default, or the empty string.
    """

    names: tuple[str, ...]
    takes: str
    meaning: str
    default: str


@frozen
class Page:
    """
    One command.

    @ivar path: the words that choose it, C{btcp} excluded.
    @ivar forms: commands to a node that begin with its last word.
    @ivar children: names and summaries of the commands it groups.
    """

    path: tuple[str, ...]
    summary: str
    description: str
    synopsis: str
    options: tuple[Option, ...]
    forms: tuple[Form, ...]
    children: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        """
        The file name of the page, without its section.
        """
        return "-".join(("btcp", *self.path))


def read_pages() -> list[Page]:
    """
    Return a page for C{btcp} and one for each of its commands, groups before their members.
    """
    root = Btcp()
    return list(_read(root, (), inspect.getdoc(Btcp) or ""))


def _read(command: Command, path: tuple[str, ...], summary: str) -> Iterator[Page]:
    subcommands = list(getattr(command, "subCommands", []))
    verb = command.verb if isinstance(command, Verb) else None
    yield Page(
        path,
        summary.strip().rstrip("."),
        inspect.getdoc(type(command)) or summary,
        getattr(command, "synopsis", "") or ("COMMAND ..." if subcommands else "[options]"),
        tuple(_options(command)),
        tuple(form for form in FORMS if form.words[0] == verb),
        tuple((name, said) for name, _, _, said in subcommands),
    )
    for name, _, make, said in subcommands:
        yield from _read(make(), (*path, name), said)


def _options(command: Command) -> Iterator[Option]:
    for long in sorted({name.rstrip("=") for name in command.longOpt}):
        letters = sorted(o for o, of in command.synonyms.items() if of == long and len(o) == 1)
        method = getattr(command, f"opt_{long.replace('-', '_')}", None)
        meaning = command.docs.get(long) or inspect.getdoc(method) or ""
        takes = long.upper() if f"{long}=" in command.longOpt else ""
        default = command.defaults.get(long) if takes else None
        shown = "" if default is None else str(default)
        names = (*(f"-{letter}" for letter in letters), f"--{long}")
        yield Option(names, takes, " ".join(meaning.split()), shown)


# -- man pages


def _roff(text: str) -> str:
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    lines = (line.strip() for line in escaped.splitlines())
    return "\n".join(f"\\&{line}" if line.startswith((".", "'")) else line for line in lines)


def man_page(page: Page) -> str:
    """
    Return the roff source of a page, in the macros of C{man(7)}.
    """
    command = " ".join(("btcp", *page.path))
    synopsis = [form.usage for form in page.forms] or [page.synopsis]
    prefix = "btcp" if page.forms else command
    lines = [
        f'.TH {page.name.upper()} 1 "" "BTCP {version("btcp")}" "BTCP"',
        ".SH NAME",
        f"{_roff(page.name)} \\- {_roff(page.summary)}",
        ".SH SYNOPSIS",
    ]
    for each in synopsis:
        lines += [f".B {_roff(prefix)}", _roff(each), ".br"]
    lines += [".SH DESCRIPTION", _roff(page.description).replace("\n\n", "\n.PP\n")]
    if page.children or page.forms:
        lines.append(".SH COMMANDS")
        for name, said in page.children:
            lines += [".TP", f".B {_roff(name)}", _roff(said)]
        for form in page.forms:
            lines += [".TP", f".B {_roff(form.usage)}", _roff(form.summary)]
    lines.append(".SH OPTIONS")
    for option in page.options:
        value = f" \\fI{_roff(option.takes)}\\fR" if option.takes else ""
        names = ", ".join(f"\\fB{_roff(name)}\\fR" for name in option.names)
        default = f" (default: {_roff(option.default)})" if option.default else ""
        lines += [".TP", f"{names}{value}", f"{_roff(option.meaning)}{default}"]
    lines += [".SH EXIT STATUS", "0 on success, 1 on failure, 2 on wrong usage.", ".SH SEE ALSO"]
    lines.append(f".BR {'btcp (1)' if page.path else 'twistd (1)'}")
    return "\n".join(lines) + "\n"


# -- completions


def _words(pages: Sequence[Page]) -> dict[tuple[str, ...], list[str]]:
    """
    Return what may follow each sequence of words.
    """
    found: dict[tuple[str, ...], list[str]] = {}
    for page in pages:
        options = [name for option in page.options for name in option.names if name[:2] == "--"]
        found[page.path] = [*(name for name, _ in page.children), *options]
        for form in page.forms:
            for count in range(1, len(form.words)):
                found.setdefault(form.words[:count], []).append(form.words[count])
            found.setdefault(form.words, options[:]).extend(o.name for o in form.options)
            found[form.words] += [word for a in form.arguments for word in a.kind.words]
    return {path: sorted(set(words)) for path, words in found.items()}


def _arms(words: dict[tuple[str, ...], list[str]], line: str) -> str:
    return "\n".join(
        f"        '{' '.join(path)}') {line.format(words=' '.join(follow))} ;;"
        for path, follow in sorted(words.items())
    )


def bash_completion(pages: Sequence[Page]) -> str:
    """
    Return the completion of C{btcp} for bash.
    """
    words = _words(pages)
    paths = "|".join(f"'{' '.join(path)}'" for path in sorted(words) if path)
    return f"""# SPDX-License-Identifier: MIT
# bash completion for btcp, generated by tools/manual.py
_btcp() {{
    local path= next words index
    for ((index = 1; index < COMP_CWORD; index++)); do
        next="${{path:+$path }}${{COMP_WORDS[index]}}"
        case $next in {paths}) path=$next ;; esac
    done
    case $path in
{_arms(words, "words='{words}'")}
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}")
}}
complete -o default -F _btcp btcp
"""


def zsh_completion(pages: Sequence[Page]) -> str:
    """
    Return the completion of C{btcp} for zsh.
    """
    words = _words(pages)
    paths = "|".join(f"'{' '.join(path)}'" for path in sorted(words) if path)
    return f"""#compdef btcp
# SPDX-License-Identifier: MIT
# zsh completion for btcp, generated by tools/manual.py
local known= next word
for word in ${{words[2,CURRENT-1]}}; do
    next="${{known:+$known }}$word"
    case $next in {paths}) known=$next ;; esac
done
case $known in
{_arms(words, "compadd -- {words}")}
esac
_files
"""


def write(directory: Path) -> None:
    """
    Write all pages and completions below a directory.
    """
    pages = read_pages()
    files = {f"man/{page.name}.1": man_page(page) for page in pages}
    files["bash/btcp"] = bash_completion(pages)
    files["zsh/_btcp"] = zsh_completion(pages)
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
