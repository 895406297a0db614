# SPDX-License-Identifier: MIT
"""
Rendering of a node's answers as text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from btcp.admin.client import Reply
from btcp.admin.grammar import pointed
from btcp.admin.protocol import Status
from btcp.table import describe, printable, table


def rendered(line: str, reply: Reply) -> str:
    """
    Render an answer.

    @param line: the command that it answers.
    @return: lines of text, the last without a newline; may be empty.
    """
    return printable(_rendered(line, _worded(reply.value)))


def _rendered(line: str, value: Mapping[str, Any]) -> str:
    if "error" in value:
        return complaint(line, value)
    if "commands" in value:
        return _commands(value["commands"])
    if "drained" in value:
        return _drained(value)
    if "changed" in value:
        return str(value["changed"] or "no changes")
    if "shut" in value:
        return f"reset {value['client']}: {value['shut']}"
    if "cleared" in value:
        return f"{value['cleared']} counters reset to zero"
    if "log" in value:
        return _errors(value)
    name, inner = next(iter(value.items()), ("", ""))
    if len(value) == 1 and isinstance(inner, dict):
        return describe(name, inner)
    if "cut" in value:
        shown = describe("flows", value["flows"])
        return f"{shown}\n(truncated: there may be more)" if value["cut"] else shown
    return describe(name, inner if len(value) == 1 else value) if value else ""


def complaint(line: str, value: Mapping[str, Any]) -> str:
    """
    Render an error; errors of syntax are shown below the command, with a marker.

    @param value: the answer's value.
    """
    if "column" in value:
        return pointed(line, value["column"], value["length"], value["error"])
    return f"btcp: {value['error']}"


def succeeded(reply: Reply) -> bool:
    """
    Return whether an answer is a result for standard output (even if its status is not C{DONE}),
    as opposed to an error.
    """
    return reply.status is Status.DONE or "error" not in reply.value


def _worded(value: Any, depth: int = 0) -> Any:
    """
    Convert values for display: lists become text, floats are rounded, absent values become C{-}.

    @param depth: the nesting depth in the answer.
    """
    if isinstance(value, dict):
        return {key: _worded(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, list):
        inside = [_worded(inner, depth) for inner in value]
        if any(isinstance(inner, dict) for inner in inside) or (depth < 2 and not inside):
            return inside
        return ", ".join(map(str, inside)) or "-"
    if isinstance(value, float):
        return round(value, 6)
    return "-" if value is None or value == "" else value


def _errors(value: Mapping[str, Any]) -> str:
    counted = table([("counter", "value"), *value["counters"].items()])
    counters = counted if value["counters"] else "no error counter has changed"
    warned = describe("log", value["log"]) if value["log"] else "no warnings in the log"
    return f"{counters}\n\n{warned}"


def _commands(commands: list[Mapping[str, str]]) -> str:
    return "\n".join(
        f"{command['usage']}\n    {command['summary']} ({command['level']})" for command in commands
    )


def _drained(value: Mapping[str, Any]) -> str:
    state = "is drained" if value["drained"] else "is not drained"
    held = {key: value[key] for key in ("fronts", "backs", "seconds")}
    return f"{value['node']} {state}\n{table([tuple(held), tuple(held.values())])}"
