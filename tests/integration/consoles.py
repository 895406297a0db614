# SPDX-License-Identifier: MIT
"""
Pages of C{docs/} with consoles in them: each command is carried out in a lab, and what it prints
must be what the page says, numbers and times apart.

C{python -m tests.integration.consoles docs/shell.md docs/transcript.md} writes into the pages
what is printed now.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from attrs import define

from btcp.lab import topology
from btcp.lab.cluster import Lab

PREFIX = "console"
MANAGE_PORT = 7312

_BLOCK = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)
_PROMPT = re.compile(r"^([a-c]|client)([#$]) (.*)$")
_NUMBER = re.compile(r"(?<![\w/])-?\d[\w.:+-]*|(?<= )-(?=\s|$)")
ROOT = Path(__file__).parents[2]

_STATUS = re.compile(r"\d{1,3}$|\d{3} ")

# The lab's daemons are not where those of a host are.
_ALIASES = """
exec 2>&1
btcp() { command btcp --socket "$PWD/btcp.sock" --config "$PWD/node.yaml" "$@"; }
"""


@define
class Step:
    """
    One command.

    @ivar prompt: with the command, as the page has it.
    @ivar said: what the page says that it prints.
    @ivar printed: what it did print.
    """

    prompt: str
    host: str
    command: str
    said: str = ""
    printed: str = ""


def steps(block: str) -> Iterator[Step]:
    """
    The commands of a block.
    """
    step: Step | None = None
    for line in block.splitlines():
        match = _PROMPT.match(line)
        if match is not None:
            if step is not None:
                yield step
            step = Step(line, match[1], match[3])
        elif step is not None:
            step.said += f"{line}\n"
    if step is not None:
        yield step


def pages(page: Path) -> list[Step]:
    """
    All commands of a page.
    """
    return [step for block in _BLOCK.findall(page.read_text()) for step in steps(block)]


def masked(text: str) -> list[str]:
    """
    What stays the same from one time to the next: no numbers, but for statuses that begin a
    line, and no widths of columns.
    """
    return [
        line if _STATUS.match(line) else re.sub(r" +", " ", _NUMBER.sub("N", line)).strip()
        for line in text.splitlines()
    ]


def carry_out(lab: Lab, step: Step) -> None:
    """
    Do it, in the directory of the node.
    """
    home = lab.home(step.host) if step.host in lab.nodes else lab.state
    path = f"{Path(sys.executable).parent}:$PATH"
    script = f'cd {home}; export PATH="{path}" PYTHONPATH={ROOT}\n{_ALIASES}{step.command}'
    done = lab.exec(step.host, ["bash", "-c", script], timeout=90)
    step.printed = done.stdout.decode()


def replayed(page: Path, lab: Lab, each: Callable[[Step], None]) -> str:
    """
    Carry out all that a page has.

    @param each: is shown every step after it was carried out.
    @return: the page with what was printed.
    """

    def block(match: re.Match[str]) -> str:
        shown = []
        for step in steps(match[0]):
            carry_out(lab, step)
            each(step)
            shown.append(f"{step.prompt}\n{step.printed}")
        return "".join(shown)

    return _BLOCK.sub(block, page.read_text())


def made_lab(prefix: str = PREFIX) -> Lab:
    """
    @return: a lab as the pages take for granted, which is not up.
    """
    nodes = {
        name: topology.settings(name) | {"manage": f"{topology.addresses(name)[0]}:{MANAGE_PORT}"}
        for name in "abc"
    }
    return Lab(prefix, tls=True, config={"nodes": nodes})


def stand(lab: Lab, page: Path) -> None:
    """
    Have the lab stand as a page takes for granted: with daemons, unless the page starts them.
    """
    lab.up(daemons="# twistd --" not in page.read_text())
    for node in lab.nodes:
        lab.configure(node)


def _write(path: str) -> None:
    page, lab = Path(path), made_lab()
    stand(lab, page)
    try:
        page.write_text(replayed(page, lab, lambda step: print(step.prompt)))
    finally:
        lab.down()


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        _write(argument)
