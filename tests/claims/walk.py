# SPDX-License-Identifier: MIT
"""
Capture one handoff in a lab and explain it: C{python -m tests.claims.walk}, as root, writes
C{docs/captures/handoff.pcapng} and C{docs/walk-of-a-handoff.md} anew.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from attrs import frozen
from scapy.utils import PcapNgWriter

from btcp.datapath.raw.datapath import TAP
from btcp.lab.topology import CLIENT, CONTROL_PORT
from tests.claims.channel import Said
from tests.claims.evidence import Evidence
from tests.claims.packets import Seen, of
from tests.claims.scene import Scene, emptied, fetch, hardware_addresses
from tests.claims.stage import End, Stage, request
from tests.claims.tape import Place, recording
from tests.modes import RAW_REPLAY

_ROOT = Path(__file__).parents[2]
_CAPTURE = _ROOT / "docs/captures/handoff.pcapng"
_PAGE = _ROOT / "docs/walk-of-a-handoff.md"
_TEMPLATE = Path(__file__).with_name("walk.md.in")
_FRONT, _BACK = "a", "b"
_PAUSE = 0.05
"""Seconds that the client waits before it closes, so that the page can tell one thing after
another."""

_PLACES = ((CLIENT, "eth0"), (_FRONT, "eth0"), (_BACK, "eth0"), (_BACK, TAP))


@frozen
class Step:
    """
    A packet at one of the places.

    @ivar what: what happens there.
    """

    place: Place
    packet: Seen
    what: str


class Walk:
    """
    @ivar steps: in order; the first is packet 1 of the capture.
    """

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        found = [*self._carried(), *self._control()]
        self.steps = sorted(found, key=lambda step: step.packet.time)

    def _carried(self) -> Iterable[Step]:
        """
        The packets of the connection, wherever they were seen.
        """
        it = self.evidence.connection
        for place in _PLACES:
            for packet in of(self.evidence.scene.tape.at(*place), it.client):
                yield Step(place, packet, self._what(place, packet))

    def _control(self) -> Iterable[Step]:
        """
        The messages about it, as they left and came at the front-end.
        """
        place = _FRONT, "eth0"
        channel = self.evidence.channel
        end = self.evidence.end[0]
        said = {
            self.evidence.request: "**Handoff**: adopt this connection",
            self.evidence.reply: "**Adopted**: it is mine",
            end: "**Terminate**: it is over",
            channel.answer(end): "answer to Terminate",
        }
        for each, what in said.items():
            yield Step(place, self._segment(each), what)

    def _segment(self, said: Said) -> Seen:
        packets = self.evidence.scene.tape.at(_FRONT)
        return next(
            each for each in packets if each.time == said.time and CONTROL_PORT in _ports(each)
        )

    def _what(self, place: Place, packet: Seen) -> str:
        it, addresses = self.evidence.connection, self.evidence.scene.addresses
        roles: Mapping[tuple[str, str, str], str] = {
            (CLIENT, it.client[0], it.at_front[0]): "the client sends",
            (CLIENT, it.at_front[0], it.client[0]): "the client gets",
            (_FRONT, it.client[0], it.at_front[0]): f"comes to {_FRONT}",
            (_FRONT, it.at_front[0], it.client[0]): f"{_FRONT} says itself",
            (_FRONT, it.client[0], it.at_back[0]): f"{_FRONT} forwards: ack − d, TSecr − t",
            (_BACK, it.client[0], it.at_back[0]): f"comes to {_BACK}",
            (_BACK, it.at_front[0], it.client[0]): f"{_BACK} says it in {_FRONT}'s name",
        }
        if place[1] != TAP:
            return roles[place[0], packet.source[0], packet.destination[0]]
        if packet.source == it.at_back:
            return f"caught from {_BACK}'s TCP"
        if packet.frame.dst == addresses[_BACK, TAP]:
            return f"given to {_BACK}'s TCP"
        return f"taken before {_BACK}'s TCP"

    def table(self, numbers: Iterable[int]) -> str:
        """
        Rows for some of the steps, which count from 1.
        """
        start = self.steps[0].packet.time
        lines = [
            "| # | ms | where | what | from → to | packet |",
            "|---:|---:|---|---|---|---|",
        ]
        for number in numbers:
            step = self.steps[number - 1]
            cells = [
                str(number),
                f"{(step.packet.time - start) * 1000:.3f}",
                " ".join(step.place),
                step.what,
                " → ".join(map(self._name, step.packet.ends)),
                _summary(step.packet),
            ]
            lines.append(f"| {' | '.join(cells)} |")
        return "\n".join(lines)

    def _name(self, end: End) -> str:
        it = self.evidence.connection
        names = {it.client: "client", it.at_front: f"{_FRONT}:80", it.at_back: f"{_BACK}:8080"}
        return names.get(end) or {it.at_front[0]: _FRONT, it.at_back[0]: _BACK}[end[0]]

    def save(self, path: Path) -> None:
        """
        Write the capture: an interface for each place, a comment for each packet.
        """
        with PcapNgWriter(str(path)) as writer:
            for step in self.steps:
                frame = step.packet.frame.copy()
                frame.time = step.packet.frame.time
                frame.sniffed_on = " ".join(step.place)
                frame.comments = [step.what.replace("*", "").encode()]
                writer.write(frame)


def _ports(packet: Seen) -> tuple[int, int]:
    return packet.source[1], packet.destination[1]


_FLAGS = {"S": "SYN", "A": "ACK", "P": "PSH", "F": "FIN", "R": "RST"}


def _summary(packet: Seen) -> str:
    if CONTROL_PORT in _ports(packet):
        return f"{len(packet.payload)} octets of AMP"
    names = ",".join(_FLAGS[letter] for letter in packet.flags if letter != "P")
    words = [names, f"seq {packet.seq}"]
    if "A" in packet.flags:
        words.append(f"ack {packet.ack}")
    if packet.payload:
        words.append(f"{len(packet.payload)} octets")
    if "Timestamp" in packet.options:
        words.append("TS {} {}".format(*packet.timestamps))
    return ", ".join(words)


def capture(stage: Stage) -> Evidence:
    """
    Have one connection handed off.
    """
    lab = stage.lab()
    lab.offload(False, checksums=False)
    path = f"/{_BACK}/1k"
    with recording(lab, _PLACES) as tape:
        connection = fetch(lab, _FRONT, _BACK, 4, request(path), lab.content(path), _PAUSE)
        freed = emptied(lab)
    addresses = hardware_addresses(lab)
    return Evidence(Scene(lab, RAW_REPLAY, tape, [connection], [], addresses, freed), connection)


def page(walk: Walk) -> str:
    """
    The template, filled in with what was captured.
    """
    return _TEMPLATE.read_text().format(
        packets=len(walk.steps), **_tables(walk), **_numbers(walk.evidence)
    )


def _tables(walk: Walk) -> dict[str, str]:
    """
    The steps, in the sections of the page.
    """
    evidence = walk.evidence
    asked, replied = evidence.request.time, evidence.reply.time
    closing = next(each.time for each in evidence.sent if "F" in each.flags)
    replayed = [*evidence.replayed, evidence.caught[0], evidence.spoken[0]]

    def section(step: Step) -> str:
        time, control = step.packet.time, CONTROL_PORT in _ports(step.packet)
        if control and time <= replied:
            return "request_message" if time <= asked else "reply_message"
        if step.packet in replayed:
            return "replay"
        if time >= closing:
            return "closing"
        return "opening" if time <= asked else "middle"

    sections: dict[str, list[int]] = defaultdict(list)
    for number, step in enumerate(walk.steps, 1):
        sections[section(step)].append(number)
    return {name: walk.table(numbers) for name, numbers in sections.items()}


def _numbers(evidence: Evidence) -> dict[str, object]:
    it, order = evidence.connection, evidence.handoff
    spoken = next(each for each in evidence.spoken if each.payload)
    got = next(each for each in evidence.received if each.payload)
    return {
        "client": it.client,
        "front": it.at_front[0],
        "back": it.at_back[0],
        "order": order,
        "sack": "yes" if order.sack else "no",
        "adopted": evidence.adopted,
        "end": evidence.end[1],
        "reason": evidence.end[1].reason.value,
        "iss": evidence.iss,
        "isn": evidence.isn,
        "delta": evidence.delta,
        "stamps": evidence.stamps,
        "promised": order.front_scale,
        "own": evidence.caught[0].options["WScale"],
        "spoken": spoken,
        "got": got,
        "last": evidence.later[0],
        "passed": evidence.forwarded[0],
        "request_line": order.request.splitlines()[0].decode(),
        "request_octets": len(order.request),
        "handoff_ms": (evidence.reply.time - evidence.request.time) * 1000,
        "first_ms": (got.time - evidence.completing.time) * 1000,
    }


def main() -> int:
    """
    @return: the exit status.
    """
    walk = Walk(capture(Stage("claimswalk")))
    walk.save(_CAPTURE)
    _PAGE.write_text(page(walk))
    print(f"{len(walk.steps)} packets: {_CAPTURE.relative_to(_ROOT)}, {_PAGE.relative_to(_ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
