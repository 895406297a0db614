# SPDX-License-Identifier: MIT
"""
What the values in a box look like: AMP argument types that take nothing odd.

A handoff has seventeen numbers and strings.  As seventeen arguments of
Twisted's types they cost 71 us of CPU a call and side, packed into four strings
37 us (and 17 us as it is done here, see L{btcp.amp.boxes} for the rest), so
what has a fixed layout travels in one string.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Any

from twisted.protocols import amp

from btcp.cluster.state import Admin, Decision, Health, NodeReport
from btcp.handoff.messages import UNMEASURED, Adopted, Endpoint, Handoff, Reason, Terminate

Box = dict[bytes, bytes]
Values = dict[str, Any]

MAX_NAME = 255
"""Octets of a node's or listener's name in UTF-8."""

MAX_REQUEST = 65535
"""Octets of request that one handoff can carry: what an AMP value can."""

MAX_SCALE = 14
"""RFC 7323, 2.3."""

_STATE = Struct("!QIIHHbbBqqH")
_RTT = Struct("!H")
_ADOPTED = Struct("!QIIH")
_RECORD = Struct("!QBII")
_LOAD = Struct("!IIIHBB")
_ENDS = {length: Struct(f"!H{length}sH{length}s") for length in (4, 16)}
_BY_LENGTH = {layout.size: layout for layout in _ENDS.values()}

MAX_RECORDS = amp.MAX_VALUE_LENGTH // _RECORD.size
"""Records that fit into one L{Terminate<btcp.control.commands.Terminate>}."""

REASON_CODES: dict[Reason, int] = {
    Reason.NO_LISTENER: 1,
    Reason.ACCEPT_QUEUE_FULL: 2,
    Reason.RESET_BY_ORIGIN: 3,
    Reason.TUPLE_IN_USE: 4,
    Reason.OVERLOAD: 5,
    Reason.OPTIONS: 6,
    Reason.UNREACHABLE: 7,
    Reason.STOPPING: 8,
    Reason.DRAINING: 9,
    Reason.CLOSED: 16,
    Reason.RESET_BY_CLIENT: 17,
    Reason.IDLE: 18,
    Reason.ABANDONED: 19,
    Reason.LINK_LOST: 20,
}
"""A reason's octet in a termination record.  A number is never used again."""

_REASONS = {code: reason for reason, code in REASON_CODES.items()}

_HEALTH_CODES = {Health.UNCHECKED: 0, Health.UP: 1, Health.DOWN: 2}
_HEALTHS = {code: health for health, code in _HEALTH_CODES.items()}
_ADMIN_CODES = {Admin.READY: 0, Admin.DRAIN: 1, Admin.MAINT: 2}
_ADMINS = {code: admin for admin, code in _ADMIN_CODES.items()}

_WHOLE = 1000
"""A host all of whose processors are busy."""

_NOT_KNOWN = 0xFFFF


class Malformed(Exception):
    """
    The octets a peer sent are not what the command declares.
    """


class Number(amp.Argument):
    """
    An integer from 0 to a bound, in decimal digits and nothing else.
    """

    def __init__(self, highest: int, optional: bool = False) -> None:
        super().__init__(optional)
        self._highest = highest
        self._digits = len(str(highest))

    def toString(self, inObject: int) -> bytes:
        return b"%d" % inObject

    def fromString(self, inString: bytes) -> int:
        if len(inString) <= self._digits and inString.isdigit():
            number = int(inString)
            if number <= self._highest:
                return number
        raise Malformed("a number is out of range")


class Flag(amp.Argument):
    """
    C{0} or C{1}.
    """

    def toString(self, inObject: bool) -> bytes:
        return b"1" if inObject else b"0"

    def fromString(self, inString: bytes) -> bool:
        if inString not in (b"0", b"1"):
            raise Malformed("a flag is neither 0 nor 1")
        return inString == b"1"


class Word(amp.Argument):
    """
    One of a few words, or nothing: a word that this version does not know, or that the
    other one did not say.
    """

    def __init__(self, *known: str) -> None:
        super().__init__(optional=True)
        self._known = known

    def toString(self, inObject: str) -> bytes:
        return inObject.encode()

    def fromString(self, inString: bytes) -> str:
        word = inString.decode(errors="replace")
        return word if word in self._known else ""


class Name(amp.Argument):
    """
    The name of a node or listener: UTF-8, 1-255 octets.
    """

    def toString(self, inObject: str) -> bytes:
        return inObject.encode()

    def fromString(self, inString: bytes) -> str:
        if not 0 < len(inString) <= MAX_NAME:
            raise Malformed("a name is empty or too long")
        return inString.decode()


_NAME = Name()
_COUNTER = Number(0xFFFFFFFFFFFFFFFF)


class HandoffFields(amp.Argument):
    """
    A L{btcp.handoff.messages.Handoff} as four keys: C{listener}, C{ends} (port
    and address of the client, port and address of the front), C{state} and
    C{request}; and C{rtt}, which is absent if it was not measured.
    """

    def toBox(self, name: bytes, strings: Box, objects: Values, proto: object) -> None:
        """
        @raise struct.error: if a number does not fit its field.
        """
        message: Handoff = objects["message"]
        client, front = message.client, message.front
        strings[b"listener"] = message.listener.encode()
        strings[b"ends"] = _ENDS[len(client.address)].pack(
            client.port, client.address, front.port, front.address
        )
        strings[b"state"] = _STATE.pack(
            message.id,
            message.irs,
            message.iss,
            message.window,
            message.mss,
            message.client_scale,
            message.front_scale,
            message.sack,
            message.tsval,
            message.front_tsval,
            message.acked,
        )
        strings[b"request"] = message.request
        if message.rtt != UNMEASURED:
            strings[b"rtt"] = _RTT.pack(message.rtt)

    def fromBox(self, name: bytes, strings: Box, objects: Values, proto: object) -> None:
        """
        @raise Malformed: or C{KeyError}, C{ValueError}, C{struct.error}, which
            L{btcp.control.commands.ControlCommand} makes into the same.
        """
        listener = _NAME.fromString(strings[b"listener"])
        ends, request = strings[b"ends"], strings[b"request"]
        (rtt,) = _RTT.unpack(strings[b"rtt"]) if b"rtt" in strings else (UNMEASURED,)
        layout = _BY_LENGTH.get(len(ends))
        if layout is None:
            raise Malformed("the addresses are neither both IPv4 nor both IPv6")
        client_port, client, front_port, front = layout.unpack(ends)
        (id, irs, iss, window, mss, client_scale, front_scale, sack, tsval, front_tsval, acked) = (
            _STATE.unpack(strings[b"state"])
        )
        if not (-1 <= client_scale <= MAX_SCALE and -1 <= front_scale <= MAX_SCALE):
            raise Malformed("a window scale is out of range")
        if not (-1 <= tsval <= 0xFFFFFFFF and -1 <= front_tsval <= 0xFFFFFFFF):
            raise Malformed("a timestamp is out of range")
        if sack > 1 or acked > len(request):
            raise Malformed("sack or acked is out of range")
        objects["message"] = Handoff(
            id=id,
            listener=listener,
            client=Endpoint(client, client_port),
            front=Endpoint(front, front_port),
            irs=irs,
            iss=iss,
            window=window,
            mss=mss,
            client_scale=client_scale,
            front_scale=front_scale,
            sack=sack == 1,
            tsval=tsval,
            front_tsval=front_tsval,
            acked=acked,
            request=request,
            rtt=rtt,
        )


class AdoptedField(amp.Argument):
    """
    A L{btcp.handoff.messages.Adopted} as one key: C{adopted}.
    """

    def toBox(self, name: bytes, strings: Box, objects: Values, proto: object) -> None:
        """
        @raise struct.error: if a number does not fit its field.
        """
        adopted: Adopted = objects["adopted"]
        fixed = _ADOPTED.pack(adopted.id, adopted.isn, adopted.ts_delta, adopted.port)
        strings[b"adopted"] = fixed + adopted.address

    def fromBox(self, name: bytes, strings: Box, objects: Values, proto: object) -> None:
        """
        @raise Malformed: or as L{HandoffFields.fromBox}.
        """
        string = strings[b"adopted"]
        address = string[_ADOPTED.size :]
        if len(address) not in _ENDS:
            raise Malformed("the address is neither IPv4 nor IPv6")
        id, isn, ts_delta, port = _ADOPTED.unpack_from(string)
        objects["adopted"] = Adopted(id=id, isn=isn, ts_delta=ts_delta, address=address, port=port)


class TerminateFields(amp.Argument):
    """
    A list of L{btcp.handoff.messages.Terminate}, all of the same front-end, as
    two keys: C{front} and C{records}.
    """

    def toBox(self, name: bytes, strings: Box, objects: Values, proto: object) -> None:
        """
        @raise struct.error: if a number does not fit its field.
        """
        records: list[Terminate] = objects["records"]
        pack = _RECORD.pack
        strings[b"front"] = records[0].front.encode()
        strings[b"records"] = b"".join(
            [pack(r.id, REASON_CODES[r.reason], r.client_next, r.server_next) for r in records]
        )

    def fromBox(self, name: bytes, strings: Box, objects: Values, proto: object) -> None:
        """
        @raise Malformed: or as L{HandoffFields.fromBox}.
        """
        front = _NAME.fromString(strings[b"front"])
        # An unknown reason is a KeyError here.
        objects["records"] = [
            Terminate(
                front=front,
                id=id,
                reason=_REASONS[code],
                client_next=client_next,
                server_next=server_next,
            )
            for id, code, client_next, server_next in _RECORD.iter_unpack(strings[b"records"])
        ]


def abandoned_ids(box: Box) -> Iterator[bytes]:
    """
    Read which handoffs a C{Terminate} gives up, without parsing the rest of it.

    @return: the numbers of flows, packed; none if the box is malformed.
    """
    records = box.get(b"records", b"")
    if len(records) % _RECORD.size == 0:
        code = REASON_CODES[Reason.ABANDONED]
        for start in range(0, len(records), _RECORD.size):
            if records[start + 8] == code:
                yield records[start : start + 8]


def handoff_id(box: Box) -> bytes:
    """
    @return: the packed number of the flow that a C{Handoff} is about, as L{abandoned_ids} has it;
        anything else if the box is malformed.
    """
    return box.get(b"state", b"")[:8]


class ReportFields(amp.Argument):
    """
    A L{btcp.cluster.state.NodeReport} as two keys: C{load} and C{why}.
    """

    def toBox(self, name: bytes, strings: Box, objects: Values, proto: object) -> None:
        """
        @raise struct.error: if a number does not fit its field.
        """
        report: NodeReport = objects["report"]
        strings[b"load"] = _LOAD.pack(
            report.fronts,
            report.backs,
            report.rate,
            _NOT_KNOWN if report.cpu is None else round(report.cpu * _WHOLE),
            _HEALTH_CODES[report.health],
            _ADMIN_CODES[report.state],
        )
        strings[b"why"] = cut(report.why)

    def fromBox(self, name: bytes, strings: Box, objects: Values, proto: object) -> None:
        """
        @raise Malformed: or as L{HandoffFields.fromBox}.
        """
        fronts, backs, rate, cpu, health, state = _LOAD.unpack(strings[b"load"])
        why = strings[b"why"]
        if cpu > _WHOLE and cpu != _NOT_KNOWN:
            raise Malformed("a share is out of range")
        if len(why) > MAX_NAME:
            raise Malformed("a reason is too long")
        objects["report"] = NodeReport(
            fronts=fronts,
            backs=backs,
            rate=rate,
            cpu=None if cpu == _NOT_KNOWN else cpu / _WHOLE,
            health=_HEALTHS[health],
            why=why.decode(),
            state=_ADMINS[state],
        )


def cut(text: str) -> bytes:
    """
    @return: so much of the text, in whole characters, as a name may be long.
    """
    return text.encode()[:MAX_NAME].decode(errors="ignore").encode()


class DecisionFields(amp.Argument):
    """
    A L{btcp.cluster.state.Decision}, a key for each attribute.
    """

    def toBox(self, name: bytes, strings: Box, objects: Values, proto: object) -> None:
        """
        As in C{amp.Argument}.
        """
        decision: Decision = objects["decision"]
        strings[b"node"] = decision.node.encode()
        strings[b"subject"] = decision.subject.value.encode()
        strings[b"value"] = decision.value.encode()
        strings[b"counter"] = _COUNTER.toString(decision.counter)
        strings[b"by"] = decision.by.encode()

    def fromBox(self, name: bytes, strings: Box, objects: Values, proto: object) -> None:
        """
        @raise Malformed: or as L{HandoffFields.fromBox}.
        """
        objects["decision"] = Decision(
            node=_NAME.fromString(strings[b"node"]),
            subject=_NAME.fromString(strings[b"subject"]),
            value=_NAME.fromString(strings[b"value"]),
            counter=_COUNTER.fromString(strings[b"counter"]),
            by=_NAME.fromString(strings[b"by"]),
        )
