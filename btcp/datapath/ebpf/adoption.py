# SPDX-License-Identifier: MIT
"""
The tc program on the TAP device that has requests admitted without a handshake.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from socket import if_nametoindex

from btcp.datapath.ebpf import abi, objects
from btcp.datapath.ebpf.hook import INGRESS, Hook
from btcp.datapath.ebpf.libbpf import Library, Object
from btcp.datapath.interface import DatapathError, Repair
from btcp.handoff.messages import Handoff

OBJECT = objects.path("adopt.bpf.o")

_UNDER_WAY = 65_536
"""Adoptions at a time; each takes well below a millisecond."""


def probe() -> None:
    """
    Load the program, and forget it again.

    @raise DatapathError: says what this host lacks.
    """
    syncookies = Path("/proc/sys/net/ipv4/tcp_syncookies")
    if syncookies.read_text().strip() == "0":
        raise DatapathError("net.ipv4.tcp_syncookies is 0")
    Adoption().load().close()


class Adoption:
    """
    From L{set_up} to L{take_down}; the device's end ends it, too.
    """

    def load(self) -> Object:
        """
        @return: the loaded program.
        @raise DatapathError: says what this host lacks.
        """
        self._library = Library()
        objects.require(OBJECT)
        try:
            loaded = Object(self._library, str(OBJECT))
            loaded.resize("adoptions", _UNDER_WAY)
            loaded.load()
        except OSError as problem:
            raise DatapathError(
                f"the kernel has no bpf_sk_assign_tcp_reqsk, or will not have it called: "
                f"{problem.strerror}"
            ) from problem
        return loaded

    def set_up(self, tap: str) -> None:
        """
        @param tap: the device that is delivered to.
        @raise DatapathError: if the host cannot.
        """
        self._object = self.load()
        self._adoptions = self._object.map("adoptions", abi.ADOPTION.size)
        self._tap = tap
        self._attach()

    def _attach(self) -> None:
        tap = self._tap
        try:
            program = self._object.program("btcp_adopt")
            self._hook = Hook(self._library, if_nametoindex(tap))
            self._hook.attach(INGRESS, program)
            self._program_id = self._hook.attached(INGRESS)
        except OSError as problem:
            raise DatapathError(f"cannot attach to {tap}: {problem.strerror}") from problem

    def verify(self) -> list[Repair]:
        """
        Attach the program again, unless it is on the device.

        @raise DatapathError: if the host cannot.
        """
        if self._hook.attached(INGRESS) == self._program_id:
            return []
        self._attach()
        return [Repair("filter", f"program btcp_adopt was no longer attached to {self._tap}")]

    def take_down(self) -> None:
        """
        Forget the program; what it is attached to goes as well.
        """
        self._object.close()

    def admit(self, orders: Mapping[bytes, Handoff]) -> int:
        """
        See L{btcp.handoff.actions.Admit}.

        @return: for how many there was no room.
        """
        entries = {abi.pack_key(key): abi.pack_adoption(order) for key, order in orders.items()}
        return len(self._adoptions.update_many(entries))

    def retract(self, keys: Iterable[bytes]) -> None:
        """
        See L{btcp.handoff.actions.Retract}.
        """
        self._adoptions.delete_many([abi.pack_key(key) for key in keys])
