# SPDX-License-Identifier: MIT
"""
What a connection costs the core, on the node that accepts it and on the one that adopts it.

The core, its datapath's routes and timers are real; packets and messages are templates that
the unit tests use.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from gc import collect
from time import process_time

from attrs import evolve, frozen

from btcp.handoff.messages import Adopted, Endpoint, Handoff
from btcp.wire.segment import ACK, PSH, flow_key, reversed_key
from tests.simulation.cluster import ORIGIN, PORT
from tests.simulation.script import ADDRESSES, CLIENTS, Script, Tcp
from tests.unit.back_case import ISN, ORDER, SERVER, SYN_ACK
from tests.unit.front_case import IRS, REQUEST, SYN_OF_CLIENT

_PORTS = 1024


@frozen
class Cost:
    """
    Of one connection, at one node.

    @ivar seconds: of CPU, until it is spliced.
    @ivar octets: of Python's heap, once it is.
    """

    seconds: float
    octets: float


def _cost(count: int, one: Callable[[Script, int], None]) -> Cost:
    """
    @param one: has a node splice the connection of that number.
    """
    script = Script(max_half_open=count)
    began = process_time()
    for number in range(count):
        one(script, number)
    seconds = (process_time() - began) / count
    script = Script(max_half_open=count)
    one(script, count)  # what is made once
    collect()
    tracemalloc.start()
    try:
        for number in range(count):
            one(script, number)
        script.sent, script.said, script.notes = [], [], []
        collect()
        octets = tracemalloc.get_traced_memory()[0] / count
    finally:
        tracemalloc.stop()
    return Cost(seconds, octets)


def _accept(script: Script, number: int) -> None:
    key = flow_key(CLIENTS[0], _PORTS + number, ADDRESSES["a"][0], PORT)
    (answer,) = script.take(evolve(SYN_OF_CLIENT, key=key))
    client = Tcp(key=key, seq=IRS + 1, ack=answer.seq + 1, flags=ACK, window=500)
    script.take(client)
    script.take(client.but(flags=ACK | PSH, payload=REQUEST))
    ((_, message),) = script.said
    assert isinstance(message, Handoff)
    taken = Adopted(id=message.id, isn=ISN, ts_delta=0, address=ADDRESSES["b"][0], port=ORIGIN)
    script.hear("b", taken)


def _adopt(script: Script, number: int) -> None:
    port = _PORTS + number
    script.hear("b", evolve(ORDER, id=number, client=Endpoint(CLIENTS[0], port)))
    key = reversed_key(flow_key(CLIENTS[0], port, ADDRESSES["a"][0], ORIGIN))
    script.take(evolve(SYN_ACK, key=key))
    script.take(evolve(SERVER, key=key))


def front_end(count: int) -> Cost:
    """
    From the SYN to the route of the client's packets.
    """
    return _cost(count, _accept)


def back_end(count: int) -> Cost:
    """
    From the handoff to the routes of both directions, by replay.
    """
    return _cost(count, _adopt)
