# SPDX-License-Identifier: MIT
"""
What the tape has on one connection, by the roles that the claims speak of.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import cached_property

from btcp.control import commands
from btcp.datapath.raw.datapath import TAP
from btcp.handoff.messages import Adopted, Handoff, Terminate
from btcp.lab.topology import CLIENT
from tests.claims.channel import Channel, Said, adopted, handoff
from tests.claims.mirror import MIRROR, below_tcp
from tests.claims.packets import MODULUS, Change, Seen, between
from tests.claims.scene import Connection, Conversation, Scene


class Evidence:
    """
    Every list is in the order of the capture it comes from.
    """

    def __init__(self, scene: Scene, connection: Connection) -> None:
        self.scene = scene
        self.connection = connection

    def __str__(self) -> str:
        """
        For sentences.
        """
        return f"IPv{self.connection.family}"

    @property
    def talk(self) -> Conversation:
        """
        The connection, if it is one of the long ones.
        """
        assert isinstance(self.connection, Conversation)
        return self.connection

    @property
    def channel(self) -> Channel:
        """
        As captured at the front-end.
        """
        return self.scene.channel(self.connection.front)

    def _ether(self, host: str, device: str) -> str:
        return self.scene.addresses[host, device]

    # -- at the client ---------------------------------------------------------

    @cached_property
    def sent(self) -> list[Seen]:
        """
        By the client.
        """
        it = self.connection
        return between(self.scene.tape.at(CLIENT), it.client, it.at_front)

    @cached_property
    def received(self) -> list[Seen]:
        """
        By the client.
        """
        it = self.connection
        return between(self.scene.tape.at(CLIENT), it.at_front, it.client)

    # -- at the front-end ------------------------------------------------------

    @cached_property
    def arrived(self) -> list[Seen]:
        """
        From the client at the front-end.
        """
        it = self.connection
        return between(self.scene.tape.at(it.front), it.client, it.at_front)

    @cached_property
    def stream(self) -> bytes:
        """
        What the client said, in order, as it arrived at the front-end.
        """
        octets = bytearray()
        for each in self.arrived:
            start = (each.seq - self.arrived[0].seq - 1) % MODULUS
            if each.payload and start <= len(octets):
                octets += each.payload[len(octets) - start :]
        return bytes(octets)

    @cached_property
    def completing(self) -> Seen:
        """
        The packet from the client that completed the head of the request.
        """
        goal = len(self.connection.head)
        return next(each for each in self.arrived if self.offset(each) >= goal)

    @cached_property
    def size(self) -> int:
        """
        How much of what the client said the front-end had then.
        """
        return self.offset(self.completing)

    def offset(self, packet: Seen) -> int:
        """
        How far a packet from the client reaches in what the client said.
        """
        sent = len(packet.payload) + ("S" in packet.flags)
        return (packet.seq + sent - self.arrived[0].seq - 1) % MODULUS

    def taken(self, packet: Seen) -> int:
        """
        How much of what the client said a packet to the client acknowledges.
        """
        return (packet.ack - self.arrived[0].seq - 1) % MODULUS

    @cached_property
    def earlier(self) -> list[Seen]:
        """
        What arrived until the request was complete.
        """
        return self.arrived[: self.arrived.index(self.completing) + 1]

    @cached_property
    def windows(self) -> set[int]:
        """
        What the client said of its window until then, in octets, but not more than a SYN's
        window field can say.
        """
        syn, *others = self.earlier
        scale = syn.options["WScale"]
        return {syn.window, *(min(each.window << scale, 0xFFFF) for each in others)}

    @cached_property
    def later(self) -> list[Seen]:
        """
        What arrived after the request was complete.
        """
        return self.arrived[len(self.earlier) :]

    @cached_property
    def fresh(self) -> list[Seen]:
        """
        The same without repetitions of the request; to acknowledge that is the back-end's.
        And of ACKs alone that waited until the back-end had the connection only the last
        goes on, for it says what the others said.
        """
        news = [each for each in self.later if not each.payload or self.offset(each) > self.size]
        inward = self.injected if self.connection.front == self.connection.back else self.forwarded
        began = min(each.time for each in inward if each not in self.replayed)
        return [
            each
            for each, following in zip(news, [*news[1:], None], strict=True)
            if following is None or following.time > began or not _says_all(following, each)
        ]

    @cached_property
    def replied(self) -> list[Seen]:
        """
        By the front-end itself, to the client.
        """
        it = self.connection
        return between(self.scene.tape.at(it.front), it.at_front, it.client)

    @cached_property
    def forwarded(self) -> list[Seen]:
        """
        From the front-end to the back-end.
        """
        it = self.connection
        return between(self.scene.tape.at(it.front), it.client, it.at_back)

    # -- at the back-end -------------------------------------------------------

    @cached_property
    def injected(self) -> list[Seen]:
        """
        What the back-end's TCP was given.
        """
        it, mode = self.connection, self.scene.mode
        if not mode.in_kernel:
            return self.written
        given = between(self.scene.tape.at(it.back, MIRROR), it.client, it.at_back)
        return sorted([*self.written, *given], key=lambda each: each.time)

    @cached_property
    def written(self) -> list[Seen]:
        """
        Of that, what the back-end's daemon wrote to the TAP device.
        """
        it, tape = self.connection, self.scene.tape
        own = self._ether(it.back, TAP)
        passed = between(tape.at(it.back, TAP), it.client, it.at_back)
        # All others came that way too, from the network.
        return [each for each in passed if each.frame.dst == own]

    def raised(self, packets: Iterable[Seen], node: str) -> list[Seen]:
        """
        @param packets: of the connection, as they came to a node's programs.
        @return: those that the programs left to the daemon.
        """
        seen = Counter(each.octets for each in self.scene.tape.at(node, TAP))
        found = []
        for each in packets:
            if seen[each.octets]:
                seen[each.octets] -= 1
                found.append(each)
        return found

    @cached_property
    def syn(self) -> Seen:
        """
        The SYN that the back-end's TCP was given.
        """
        return next(each for each in self.injected if each.flags == "S")

    @cached_property
    def ack(self) -> Seen:
        """
        The ACK that completed the handshake with the back-end's TCP.
        """
        return next(each for each in self.injected if each.flags == "A" and not each.payload)

    @cached_property
    def replayed(self) -> list[Seen]:
        """
        What the back-end's TCP was given until it had the request.
        """
        return [each for each in self.injected if each.time <= self.spoken[0].time]

    @cached_property
    def caught(self) -> list[Seen]:
        """
        From the back-end's TCP.
        """
        it, device = self.connection, below_tcp(self.scene.mode)
        return between(self.scene.tape.at(it.back, device), it.at_back, it.client)

    @cached_property
    def answered(self) -> list[Seen]:
        """
        By the back-end, in the front-end's name, to the client.
        """
        it = self.connection
        return between(self.scene.tape.at(it.back), it.at_front, it.client)

    # -- on the control channel ------------------------------------------------

    @cached_property
    def request(self) -> Said:
        """
        The one handoff request of this connection.
        """
        return self._ask[0]

    @cached_property
    def handoff(self) -> Handoff:
        return handoff(self.request)

    @cached_property
    def reply(self) -> Said:
        """
        The handoff acknowledgment.
        """
        return self.channel.answer(self.request)

    @cached_property
    def adopted(self) -> Adopted:
        return adopted(self.reply)

    @cached_property
    def end(self) -> tuple[Said, Terminate]:
        """
        The one termination message of this connection.
        """
        it, number = self.connection, self.handoff.id
        (found,) = (
            (said, record)
            for said, record in self.channel.terminations()
            if (record.front, record.id, said.sender) == (it.front, number, it.back)
        )
        return found

    @cached_property
    def _ask(self) -> list[Said]:
        port = self.connection.client[1]
        found = [
            said
            for said in self.channel.asked(commands.Handoff)
            if said.sender == self.connection.front and handoff(said).client.port == port
        ]
        assert len(found) == 1, f"{len(found)} handoff requests"
        return found

    # -- what follows from what was seen ---------------------------------------

    @cached_property
    def iss(self) -> int:
        """
        The front-end's initial sequence number, as the client got it.
        """
        return self.received[0].seq

    @cached_property
    def isn(self) -> int:
        """
        The back-end's, as its TCP has it; of a TCP that says no SYN, the number before the
        first.
        """
        first = self.caught[0]
        return first.seq if "S" in first.flags else (first.seq - 1) % MODULUS

    @cached_property
    def delta(self) -> int:
        """
        To be added to the back-end's sequence numbers, 0 to 2**32 - 1.
        """
        return (self.iss - self.isn) % MODULUS

    @cached_property
    def spoken(self) -> list[Seen]:
        """
        From the back-end's TCP since it had all of the request: before that, the back-end
        keeps what its TCP says to itself.
        """
        said = (each for each in self.caught if "S" not in each.flags)
        return [each for each in said if self.taken(each) >= self.size]

    @cached_property
    def stamps(self) -> int:
        """
        To be added to the back-end's TSval.
        """
        first = next(each for each in self.answered if self.taken(each) >= self.size)
        return (first.timestamps[0] - self.spoken[0].timestamps[0]) % MODULUS

    @property
    def inward(self) -> Change:
        """
        What becomes of the client's packets on their way to the back-end's TCP.
        """
        at_back = self.connection.at_back
        return Change(destination=at_back, ack=-self.delta, tsecr=-self.stamps)

    @property
    def outward(self) -> Change:
        """
        What becomes of the packets of the back-end's TCP on their way to the client.
        """
        promised = self.received[0].options["WScale"]
        own = promised if self.scene.mode.by_cookie else self.caught[0].options["WScale"]
        return Change(
            source=self.connection.at_front,
            seq=self.delta,
            tsval=self.stamps,
            shift=own - promised,
        )


def _says_all(packet: Seen, before: Seen) -> bool:
    """
    @return: whether the packet says all that the one before it said, an ACK alone.
    """
    alone = before.flags == "A" and not before.payload and not before.edges
    ahead = (packet.ack - before.ack) % MODULUS
    return alone and "A" in packet.flags and packet.seq == before.seq and ahead < MODULUS // 2


def data(packets: Iterable[Seen]) -> int:
    """
    @return: octets of payload.
    """
    return sum(len(each.payload) for each in packets)
