# SPDX-License-Identifier: MIT
"""
Claims 13 and 25: the whole method, by a module that is loaded at run time below the kernel's TCP.
"""

from __future__ import annotations

import time
from http.client import HTTPResponse

from btcp.control import commands
from btcp.datapath.raw.datapath import TAP
from btcp.datapath.raw.guard import TABLE
from btcp.lab.cluster import Lab
from btcp.lab.topology import CLIENT, CONTROL_PORT, ORIGIN_PORT
from tests.claims import host
from tests.claims.case import ClaimTestCase
from tests.claims.channel import Channel
from tests.claims.evidence import Evidence
from tests.claims.packets import HEADERS, MODULUS, Seen, of
from tests.claims.scene import HANDED_OFF
from tests.claims.stage import answer, dial, request
from tests.claims.tape import recording
from tests.modes import in_all_modes

_HANDOFFS = 200
_RESETS = "(tcp[tcpflags] & tcp-rst != 0) or (ip6[6] == 6 and ip6[53] & 4 != 0)"
_PIECE = 4 << 20
_LOADED_ON = ("c", "b")
_PROGRAMS = ("btcp_ingress", "btcp_egress")


@in_all_modes
class WholeTests(ClaimTestCase):
    def test_claim_13(self) -> None:
        self.check(0)

    def test_claim_25(self) -> None:
        self.check(1)

    def check(self, which: int) -> None:
        phrases = [self.check_state(each) for each in self.handed_off(which)]
        self.tell(*phrases, self.check_frequency(*HANDED_OFF[which]), self.check_loading(which))

    # -- a connection is established below TCP, and handed off -----------------

    def check_state(self, evidence: Evidence) -> str:
        it = evidence.talk
        address, port = it.client
        # The front-end's TCP has nothing of the client, the back-end's has all.
        self.assertNotIn(address, it.sockets[it.front])
        self.assertRegex(it.sockets[it.back], rf"ESTAB .*{address}\]?:{port}\b")
        # Not even a reset, anywhere.
        seen = [*evidence.sent, *evidence.received, *evidence.forwarded, *evidence.injected]
        self.assertEqual([str(each) for each in seen if "R" in each.flags], [])
        # State went both ways, and both ways it is used.
        self.assertEqual(evidence.handoff.iss, evidence.iss)
        self.assertEqual(evidence.adopted.isn, evidence.isn)
        inward = (evidence.later[-1].ack - evidence.forwarded[-1].ack) % MODULUS
        outward = (evidence.answered[-1].seq - evidence.spoken[-1].seq) % MODULUS
        self.assertEqual((inward, outward), (evidence.delta, evidence.delta))
        return (
            f"{evidence}: {it.front} established {address}:{port}, which its TCP never saw, and "
            f"handed it to the TCP of {it.back}; ISNs {evidence.iss} and {evidence.isn} exchanged"
        )

    # -- again and again, over the same channel --------------------------------

    def check_frequency(self, front: str, back: str) -> str:
        lab = self.scene.lab
        before = {node: host.tcp(lab, node) for node in (front, back)}
        links = self.links(lab, front, back)
        with (
            recording(lab, [(front, "eth0")], f"tcp port {CONTROL_PORT}", 512) as tape,
            recording(lab, [(CLIENT, "eth0")], snaplen=HEADERS) as client,
            recording(lab, [(node, "eth0") for node in (front, back)], _RESETS) as resets,
        ):
            began = time.monotonic()
            self.connect(lab, front, back)
            took = time.monotonic() - began
        opened = {
            node: host.tcp(lab, node)["PassiveOpens"] - before[node]["PassiveOpens"]
            for node in before
        }
        self.assertEqual(opened, {front: 0, back: _HANDOFFS})
        self.check_resets(client.at(CLIENT), [*resets.at(front), *resets.at(back)])
        # One connection before, during and after.
        self.assertEqual(len(links), 1)
        self.assertEqual(self.links(lab, front, back), links)
        said = Channel(lab, tape.at(front)).asked(commands.Handoff)
        self.assertEqual(len(said), _HANDOFFS)
        self.assertEqual({each.link for each in said if each.receiver == back}, links)
        return (
            f"{_HANDOFFS} more in {took:.1f} s over one and the same control connection; the TCP "
            f"of {front} accepted {opened[front]} connections, that of {back} {opened[back]}"
        )

    def check_resets(self, seen: list[Seen], at_nodes: list[Seen]) -> None:
        """
        There is none.  But where a client's FIN may overtake an ACK, the back-end's TCP
        acknowledges that once more, and the client, for which the connection is over, answers
        with a reset.
        """
        resets = [each for each in seen if "R" in each.flags]
        if self.mode.overtakes:
            late = {each.source for each in resets if _is_over(of(seen, each.source), each)}
            resets = [each for each in (*resets, *at_nodes) if each.source not in late]
        else:
            resets += at_nodes
        self.assertEqual(list(map(str, resets)), [])

    def connect(self, lab: Lab, front: str, back: str) -> None:
        head = request(f"/{back}/1k", "Connection: close")
        content = lab.content(f"/{back}/1k")
        for number in range(_HANDOFFS):
            with dial(lab, 4 if number % 2 else 6, front) as connection:
                connection.sendall(head)
                self.assertEqual(answer(connection)[1], content)

    def links(self, lab: Lab, node: str, peer: str) -> set[tuple[tuple[str, int], ...]]:
        """
        The control connections of two nodes, as the kernel of one of them has them.
        """
        wanted = f"( sport = {CONTROL_PORT} or dport = {CONTROL_PORT} )"
        shown = lab.exec(node, ["ss", "-Htn", "state", "established", wanted]).stdout.decode()
        pairs = [tuple(sorted(map(_end, line.split()[2:4]))) for line in shown.splitlines()]
        return {pair for pair in pairs if lab.address(peer, 4) in dict(pair)}

    # -- loaded at run time, leaving the existing TCP/IP untouched -------------

    def check_loading(self, which: int) -> str:
        lab, node = self.scene.lab, _LOADED_ON[which]
        family = (4, 6)[which]
        lab.stop_daemon(node)
        without = host.snapshot(lab, node)
        content = lab.content(f"/{node}/10m")
        with dial(lab, family, node, ORIGIN_PORT) as origin:
            origin.sendall(request(f"/{node}/10m"))
            response = HTTPResponse(origin)
            response.begin()
            body = response.read(_PIECE)
            lab.start_daemon(node)
            self.check_loaded(without, host.snapshot(lab, node))
            body += response.read(_PIECE)
            lab.stop_daemon(node)
            self.assertEqual(host.snapshot(lab, node), without)
            body += response.read()
        lab.start_daemon(node)
        self.assertEqual(body, content)
        hooked = f"programs {' and '.join(_PROGRAMS)}" if self.mode.in_kernel else f"table {TABLE}"
        return (
            f"started and stopped on {node} in the middle of a download over IPv{family} from "
            f"its TCP, whose {len(body)} octets are right: device {TAP} and {hooked} below "
            f"TCP came and went, nothing else changed, Linux {without['kernel'][0].split()[0]} "
            f"as it was"
        )

    def check_loaded(self, without: host.Snapshot, loaded: host.Snapshot) -> None:
        self.assertEqual(host.removed(without, loaded), {})
        new = host.added(without, loaded)
        hooked = new.pop("traffic control" if self.mode.in_kernel else "packet filter")
        # A device has a queue.
        queues = new.pop("traffic control", [])
        self.assertEqual([line for line in queues if TAP not in line], [])
        self.assertEqual(set(new) - {"addresses", "routes"}, {"links", "settings"})
        (device, *_) = (line for line in new["links"] if not line.startswith(" "))
        self.assertIn(TAP, device)
        if self.mode.in_kernel:
            self.check_programs(hooked)
        else:
            self.assertIn(f"table netdev {TABLE} {{", hooked)
            hooks = [line.strip() for line in hooked if "hook" in line]
            self.assertEqual(len(hooks), 2, hooks)
        for kind in ("addresses", "routes", "settings"):
            for line in new.get(kind, ()):
                if not line.startswith(" "):
                    self.assertIn(TAP, line)

    def check_programs(self, hooked: list[str]) -> None:
        """
        Two, of one filter each, on the hook that is there for such.
        """
        queues = [line for line in hooked if line.startswith("qdisc") and TAP not in line]
        self.assertEqual([line.split()[1] for line in queues], ["clsact"])
        filters = [line for line in hooked if line.startswith("filter") and " name " in line]
        named = [line.partition(" name ")[2].split()[0] for line in filters]
        self.assertEqual(named, list(_PROGRAMS))


def _is_over(packets: list[Seen], reset: Seen) -> bool:
    """
    @param packets: of the connection, headers at least.
    @return: whether both ends had acknowledged the other's FIN before the reset.
    """
    earlier = [each for each in packets if each.time < reset.time]
    ends = {each.source: (each.seq + each.length + 1) % MODULUS for each in earlier if _ends(each)}
    done = {each.source for each in earlier if ends.get(each.destination) == each.ack}
    return len(done) == 2


def _ends(packet: Seen) -> bool:
    return "F" in packet.flags


def _end(text: str) -> tuple[str, int]:
    address, _, port = text.rpartition(":")
    return address, int(port)
