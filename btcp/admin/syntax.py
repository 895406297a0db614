# SPDX-License-Identifier: MIT
"""
All orders there are.  C{docs/shell.md} has each of them with an example.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import evolve

from btcp.admin import argument_types as kinds
from btcp.admin.grammar import Argument, Form, Order, parse
from btcp.admin.levels import Level

_NODE = Argument("node", kinds.NODE)

_ORDERS: tuple[Form, ...] = (
    Form(("show", "nodes"), Level.USER, "Every node: admin state, health, link, weight, load."),
    Form(
        ("show", "flows"),
        Level.USER,
        "The connections this node knows, all or some.",
        options=(
            Argument("client", kinds.CLIENT),
            Argument("listener", kinds.LISTENER),
            Argument("node", kinds.NODE),
            Argument("state", kinds.STATE),
            Argument("role", kinds.choice("front", "back")),
            Argument("limit", kinds.COUNT),
        ),
    ),
    Form(("show", "map"), Level.USER, "Which nodes hold what."),
    Form(("show", "stats"), Level.USER, "How many flows, and all counters."),
    Form(("show", "errors"), Level.USER, "Counters of what went wrong, and the last warnings."),
    Form(("show", "peers"), Level.USER, "The links to the other nodes."),
    Form(("show", "config"), Level.USER, "The configuration in force, defaults included."),
    Form(("show", "info"), Level.USER, "This node: version, process, and what you may do."),
    Form(("show", "trace"), Level.USER, "The trace that is running, or ran last."),
    Form(
        ("set", "node"),
        Level.OPERATOR,
        "Take a node out of service, or back.",
        (_NODE, Argument("admin", kinds.choice("ready", "drain", "maint"))),
    ),
    Form(
        ("set", "weight"),
        Level.OPERATOR,
        "Give a node less than its configured share.",
        (_NODE, Argument("percent", kinds.PERCENT)),
    ),
    Form(
        ("shutdown", "flow"),
        Level.OPERATOR,
        "Reset a client's connection.",
        (Argument("client", kinds.END),),
    ),
    Form(
        ("wait", "drained"),
        Level.OPERATOR,
        "Wait until a node that drains has no flows left.",
        (_NODE,),
        Argument("seconds", kinds.TIME),
    ),
    Form(("clear", "counters"), Level.OPERATOR, "Count from zero."),
    Form(
        ("trace", "start"),
        Level.ADMIN,
        "Write the packets of chosen flows into a pcapng file.",
        (Argument("file", kinds.FILE),),
        options=(
            Argument("client", kinds.CLIENT),
            Argument("listener", kinds.LISTENER),
            Argument("max", kinds.SIZE),
        ),
    ),
    Form(("trace", "stop"), Level.ADMIN, "End the trace."),
    Form(("reload",), Level.ADMIN, "Read the configuration again."),
    Form(("quit",), Level.USER, "Leave the shell."),
)

VERBS = (*dict.fromkeys(form.words[0] for form in _ORDERS), "help")

_VERB = Argument("verb", evolve(kinds.choice(*VERBS), metavar="VERB"))
_HELP = "Explain all orders, or those that begin with a word."

FORMS = (*_ORDERS, Form(("help",), Level.USER, _HELP, last=_VERB))


def read(line: str) -> Order:
    """
    @raise Misunderstood: if it is no order.
    """
    return parse(line, FORMS)


def explained(verb: object = None) -> dict[str, object]:
    """
    @param verb: what the forms begin with, L{None} for all.
    @return: what C{help} shows.
    """
    chosen = [form for form in FORMS if verb in (None, form.words[0])]
    return {
        "orders": [
            {"usage": form.usage, "level": str(form.level), "summary": form.summary}
            for form in chosen
        ]
    }


def candidates(line: str, names: Mapping[str, Sequence[str]]) -> list[str]:
    """
    What the last word of an unfinished line could be.

    @param line: up to the cursor.
    @param names: those there are, by the metavar of their kind.
    """
    words = line.split()
    begun = words.pop() if words and not line[-1:].isspace() else ""
    offered: list[str] = []
    for form in FORMS:
        offered += _following(form, words, names)
    return sorted({word for word in offered if word.startswith(begun)})


def _following(form: Form, words: Sequence[str], names: Mapping[str, Sequence[str]]) -> list[str]:
    """
    What a form lets follow C{words}.
    """
    said = len(words)
    if tuple(words[: len(form.words)]) != form.words[:said]:
        return []
    if said < len(form.words):
        return [form.words[said]]
    rest = words[len(form.words) :]
    fixed = [*form.arguments, *([form.last] if form.last is not None else [])]
    if len(rest) < len(fixed):
        return _words(fixed[len(rest)], names)
    options = {option.name: option for option in form.options}
    after = rest[len(fixed) :]
    if len(after) % 2 and after[-1] in options:
        return _words(options[after[-1]], names)
    return [name for name in options if name not in after[::2]]


def _words(argument: Argument, names: Mapping[str, Sequence[str]]) -> list[str]:
    return [*argument.kind.words, *names.get(argument.kind.metavar, ())]
