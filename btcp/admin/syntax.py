# SPDX-License-Identifier: MIT
"""
Definitions of all commands.  C{docs/shell.md} describes each of them with an example.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import evolve

from btcp.admin import argument_types as kinds
from btcp.admin.grammar import Argument, Form, ParsedCommand, parse
from btcp.admin.levels import Level

_NODE = Argument("node", kinds.NODE)

_COMMANDS: tuple[Form, ...] = (
    Form(("show", "nodes"), Level.USER, "Every node: admin state, health, link, weight, load."),
    Form(
        ("show", "flows"),
        Level.USER,
        "The connections of this node, all or selected ones.",
        options=(
            Argument("client", kinds.CLIENT),
            Argument("listener", kinds.LISTENER),
            Argument("node", kinds.NODE),
            Argument("state", kinds.STATE),
            Argument("role", kinds.choice("front", "back")),
            Argument("limit", kinds.COUNT),
        ),
    ),
    Form(("show", "map"), Level.USER, "The partition map: which nodes hold which content."),
    Form(("show", "stats"), Level.USER, "Numbers of flows, and all counters."),
    Form(("show", "errors"), Level.USER, "Counters of errors, and the latest warnings."),
    Form(("show", "peers"), Level.USER, "The links to the other nodes."),
    Form(("show", "config"), Level.USER, "The configuration in force, defaults included."),
    Form(("show", "info"), Level.USER, "This node: version, process, and the session's level."),
    Form(("show", "trace"), Level.USER, "The running trace, or the last one."),
    Form(
        ("set", "node"),
        Level.OPERATOR,
        "Drain a node, take it out of service, or put it back.",
        (_NODE, Argument("admin", kinds.choice("ready", "drain", "maint"))),
    ),
    Form(
        ("set", "weight"),
        Level.OPERATOR,
        "Set a node's weight to a percentage of the configured one.",
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
        "Wait until a draining node has no flows left.",
        (_NODE,),
        Argument("seconds", kinds.TIME),
    ),
    Form(("clear", "counters"), Level.OPERATOR, "Reset all counters to zero."),
    Form(
        ("trace", "start"),
        Level.ADMIN,
        "Write the packets of selected flows to a pcapng file.",
        (Argument("file", kinds.FILE),),
        options=(
            Argument("client", kinds.CLIENT),
            Argument("listener", kinds.LISTENER),
            Argument("max", kinds.SIZE),
        ),
    ),
    Form(("trace", "stop"), Level.ADMIN, "Stop the trace."),
    Form(("reload",), Level.ADMIN, "Reload the configuration."),
    Form(("quit",), Level.USER, "Leave the shell."),
)

VERBS = (*dict.fromkeys(form.words[0] for form in _COMMANDS), "help")

_VERB = Argument("verb", evolve(kinds.choice(*VERBS), metavar="VERB"))
_HELP = "Explain all commands, or those that begin with a verb."

FORMS = (*_COMMANDS, Form(("help",), Level.USER, _HELP, last=_VERB))


def read(line: str) -> ParsedCommand:
    """
    Parse a command line.

    @raise SyntaxProblem: if it is not a valid command.
    """
    return parse(line, FORMS)


def explained(verb: object = None) -> dict[str, object]:
    """
    Compose the answer to C{help}.

    @param verb: the first word of the commands to explain; L{None} for all.
    """
    chosen = [form for form in FORMS if verb in (None, form.words[0])]
    return {
        "commands": [
            {"usage": form.usage, "level": str(form.level), "summary": form.summary}
            for form in chosen
        ]
    }


def candidates(line: str, names: Mapping[str, Sequence[str]]) -> list[str]:
    """
    Complete the last word of an unfinished line.

    @param line: the line up to the cursor.
    @param names: known names of nodes and listeners, by the metavar of their type.
    @return: the words that it could be.
    """
    words = line.split()
    begun = words.pop() if words and not line[-1:].isspace() else ""
    offered: list[str] = []
    for form in FORMS:
        offered += _following(form, words, names)
    return sorted({word for word in offered if word.startswith(begun)})


def _following(form: Form, words: Sequence[str], names: Mapping[str, Sequence[str]]) -> list[str]:
    """
    List the words that can follow C{words} in a command.
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
