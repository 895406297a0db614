# SPDX-License-Identifier: MIT
"""
Answers as text for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from btcp.admin.client import Reply
from btcp.admin.grammar import pointed
from btcp.admin.protocol import Status
from btcp.table import describe, table


def rendered(line: str, reply: Reply) -> str:
    """
    @param line: what was asked.
    @return: lines, the last without a newline; nothing if there is nothing to say.
    """
    value = _worded(reply.value)
    if "error" in value:
        return complaint(line, value)
    if "orders" in value:
        return _orders(value["orders"])
    if "drained" in value:
        return _drained(value)
    if "changed" in value:
        return str(value["changed"] or "nothing has changed")
    if "shut" in value:
        return f"reset {value['client']}: {value['shut']}"
    if "cleared" in value:
        return f"{value['cleared']} counters are zero again"
    if "log" in value:
        return _errors(value)
    name, inner = next(iter(value.items()), ("", ""))
    if len(value) == 1 and isinstance(inner, dict):
        return describe(name, inner)
    if "cut" in value:
        shown = describe("flows", value["flows"])
        return f"{shown}\nthere may be more" if value["cut"] else shown
    return describe(name, inner if len(value) == 1 else value) if value else ""


def complaint(line: str, value: Mapping[str, Any]) -> str:
    """
    @param value: of an answer that is an error.
    """
    if "column" in value:
        return pointed(line, value["column"], value["length"], value["error"])
    return f"btcp: {value['error']}"


def succeeded(reply: Reply) -> bool:
    """
    Whether there is an answer to show, though it be not the one that was hoped for.
    """
    return reply.status is Status.DONE or "error" not in reply.value


def _worded(value: Any, depth: int = 0) -> Any:
    """
    What a table shows better than Python's own spelling.

    @param depth: how deep it is in the answer.
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
    counters = counted if value["counters"] else "no counter of trouble has moved"
    warned = describe("log", value["log"]) if value["log"] else "no warning was logged"
    return f"{counters}\n\n{warned}"


def _orders(orders: list[Mapping[str, str]]) -> str:
    return "\n".join(
        f"{order['usage']}\n    {order['summary']} ({order['level']})" for order in orders
    )


def _drained(value: Mapping[str, Any]) -> str:
    state = "is drained" if value["drained"] else "is not drained"
    held = {key: value[key] for key in ("fronts", "backs", "seconds")}
    return f"{value['node']} {state}\n{table([tuple(held), tuple(held.values())])}"
