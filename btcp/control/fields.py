# SPDX-License-Identifier: MIT
"""
AMP argument types of the control channel, which accept only well-formed values.

A handoff has seventeen numbers and strings.  As seventeen arguments of Twisted's types they cost
71 us of CPU per call and side; packed into four strings they cost 37 us, and 17 us with the parser
of L{btcp.amp.boxes}.  Therefore values with a fixed layout are packed into one string.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Any

from twisted.protocols import amp

from btcp.cluster.state import Admin, Decision, Health, NodeReport
from btcp.handoff.messages import UNMEASURED, Adopted, Endpoint, Handoff, Reason, Terminate
from btcp.table import printable

Box = dict[bytes, bytes]
Values = dict[str, Any]

MAX_NAME = 255
"""Maximum octets of a node's or listener's name in UTF-8."""

MAX_REQUEST = 65535
"""Maximum octets of request in a handoff, which is the limit of an AMP value."""

MAX_SCALE = 14
"""Largest window scale (RFC 7323, 2.3)."""

_STATE = Struct("!QIIHHbbBqqH")
_RTT = Struct("!H")
_ADOPTED = Struct("!QIIH")
_RECORD = Struct("!QBII")
_LOAD = Struct("!IIIHBB")
_ENDS = {length: Struct(f"!H{length}sH{length}s") for length in (4, 16)}
_BY_LENGTH = {layout.size: layout for layout in _ENDS.values()}

MAX_RECORDS = amp.MAX_VALUE_LENGTH // _RECORD.size
"""Maximum number of records in one L{Terminate<btcp.control.commands.Terminate>}."""

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
"""The octet that stands for a reason in a termination record.  Numbers are never reused."""

_REASONS = {code: reason for reason, code in REASON_CODES.items()}

_HEALTH_CODES = {Health.UNCHECKED: 0, Health.UP: 1, Health.DOWN: 2}
_HEALTHS = {code: health for health, code in _HEALTH_CODES.items()}
_ADMIN_CODES = {Admin.READY: 0, Admin.DRAIN: 1, Admin.MAINT: 2}
_ADMINS = {code: admin for admin, code in _ADMIN_CODES.items()}

_WHOLE = 1000
"""The value on the wire that stands for all processors busy."""

_NOT_KNOWN = 0xFFFF


class Malformed(Exception):
    """
    Octets from a peer that do not match the command's declaration.
    """


class Number(amp.Argument):
    """
    An integer from 0 to a bound, in decimal digits only.
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
    A boolean, as C{0} or C{1}.
    """

    def toString(self, inObject: bool) -> bytes:
        return b"1" if inObject else b"0"

    def fromString(self, inString: bytes) -> bool:
        if inString not in (b"0", b"1"):
            raise Malformed("a flag is neither 0 nor 1")
        return inString == b"1"


class Word(amp.Argument):
    """
    An optional keyword.  Unknown and absent keywords are read as the empty string.
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
    A L{btcp.handoff.messages.Handoff} as the keys C{listener}, C{ends} (port and address of the
    client, port and address at the front-end), C{state}, C{request}, and C{rtt}, which is absent if
    the round-trip time was not measured.
    """

    def toBox(self, name: bytes, strings: Box, objects: Values, proto: object) -> None:
        """
        Serialise the value.  See C{amp.Argument}.

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
        Parse a message.

        @raise Malformed: if it is invalid; also C{KeyError}, C{ValueError} and C{struct.error},
            which L{btcp.control.commands.ControlCommand} converts.
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
        Serialise the value.  See C{amp.Argument}.

        @raise struct.error: if a number does not fit its field.
        """
        adopted: Adopted = objects["adopted"]
        fixed = _ADOPTED.pack(adopted.id, adopted.isn, adopted.ts_delta, adopted.port)
        strings[b"adopted"] = fixed + adopted.address

    def fromBox(self, name: bytes, strings: Box, objects: Values, proto: object) -> None:
        """
        Parse the value.

        @raise Malformed: see L{HandoffFields.fromBox}.
        """
        string = strings[b"adopted"]
        address = string[_ADOPTED.size :]
        if len(address) not in _ENDS:
            raise Malformed("the address is neither IPv4 nor IPv6")
        id, isn, ts_delta, port = _ADOPTED.unpack_from(string)
        objects["adopted"] = Adopted(id=id, isn=isn, ts_delta=ts_delta, address=address, port=port)


class TerminateFields(amp.Argument):
    """
    A list of L{btcp.handoff.messages.Terminate}, all with the same front-end, as the keys C{front}
    and C{records}.
    """

    def toBox(self, name: bytes, strings: Box, objects: Values, proto: object) -> None:
        """
        Serialise the value.  See C{amp.Argument}.

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
        Parse the value.

        @raise Malformed: see L{HandoffFields.fromBox}.
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
    Find the abandoned handoffs in a C{Terminate} without parsing all of it.

    @return: the packed numbers of the handoffs; none if the box is malformed.
    """
    records = box.get(b"records", b"")
    if len(records) % _RECORD.size == 0:
        code = REASON_CODES[Reason.ABANDONED]
        for start in range(0, len(records), _RECORD.size):
            if records[start + 8] == code:
                yield records[start : start + 8]


def handoff_id(box: Box) -> bytes:
    """
    Read the number of a C{Handoff} without parsing all of it.

    @return: the packed number, comparable with those of L{abandoned_ids}; an arbitrary value if
        the box is malformed.
    """
    return box.get(b"state", b"")[:8]


class ReportFields(amp.Argument):
    """
    A L{btcp.cluster.state.NodeReport} as two keys: C{load} and C{why}.
    """

    def toBox(self, name: bytes, strings: Box, objects: Values, proto: object) -> None:
        """
        Serialise the value.  See C{amp.Argument}.

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
        Parse the value.

        @raise Malformed: see L{HandoffFields.fromBox}.
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
            why=printable(why.decode()),
            state=_ADMINS[state],
        )


def cut(text: str) -> bytes:
    """
    Encode a text, truncated at a character boundary to L{MAX_NAME} octets.
    """
    return text.encode()[:MAX_NAME].decode(errors="ignore").encode()


class DecisionFields(amp.Argument):
    """
    A L{btcp.cluster.state.Decision}, with a key for each attribute.
    """

    def toBox(self, name: bytes, strings: Box, objects: Values, proto: object) -> None:
        """
        Serialise the decision.  See C{amp.Argument}.
        """
        decision: Decision = objects["decision"]
        strings[b"node"] = decision.node.encode()
        strings[b"subject"] = decision.subject.value.encode()
        strings[b"value"] = decision.value.encode()
        strings[b"counter"] = _COUNTER.toString(decision.counter)
        strings[b"by"] = decision.by.encode()

    def fromBox(self, name: bytes, strings: Box, objects: Values, proto: object) -> None:
        """
        Parse the value.

        @raise Malformed: see L{HandoffFields.fromBox}.
        """
        objects["decision"] = Decision(
            node=_NAME.fromString(strings[b"node"]),
            subject=_NAME.fromString(strings[b"subject"]),
            value=_NAME.fromString(strings[b"value"]),
            counter=_COUNTER.fromString(strings[b"counter"]),
            by=_NAME.fromString(strings[b"by"]),
        )
