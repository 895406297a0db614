# SPDX-License-Identifier: MIT
"""
Adoption by cookie: the tc program on the TAP device that makes the local TCP accept a request
without a handshake.
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
"""Maximum number of adoptions in progress; each takes well below a millisecond."""


def probe() -> None:
    """
    Test whether the program can be loaded.

    @raise DatapathError: if not; the text says what the host lacks.
    """
    syncookies = Path("/proc/sys/net/ipv4/tcp_syncookies")
    if syncookies.read_text().strip() == "0":
        raise DatapathError("net.ipv4.tcp_syncookies is 0")
    Adoption().load().close()


class Adoption:
    """
    The attached program and its table, from L{set_up} until L{take_down} or the end of the device.
    """

    def load(self) -> Object:
        """
        Load the program without attaching it.

        @raise DatapathError: if the kernel refuses it; the text says what the host lacks.
        """
        self._library = Library()
        objects.require(OBJECT)
        try:
            loaded = Object(self._library, str(OBJECT))
            loaded.resize("adoptions", _UNDER_WAY)
            loaded.load()
        except OSError as problem:
            raise DatapathError(
                f"the kernel has no bpf_sk_assign_tcp_reqsk, or does not permit calling it: "
                f"{problem.strerror}"
            ) from problem
        return loaded

    def set_up(self, tap: str) -> None:
        """
        Load the program and attach it to the TAP device.

        @param tap: the name of the device.
        @raise DatapathError: if the host does not support it.
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
        Attach the program again if it is no longer attached.

        @raise DatapathError: if that fails.
        """
        if self._hook.attached(INGRESS) == self._program_id:
            return []
        self._attach()
        return [Repair("filter", f"program btcp_adopt was no longer attached to {self._tap}")]

    def take_down(self) -> None:
        """
        Release the program; the attachment ends with the TAP device.
        """
        self._object.close()

    def admit(self, orders: Mapping[bytes, Handoff]) -> int:
        """
        Execute L{btcp.handoff.actions.Admit} for several connections.

        @param orders: keys of the clients' packets to handoffs.
        @return: the number of connections for which there was no room.
        """
        entries = {abi.pack_key(key): abi.pack_adoption(order) for key, order in orders.items()}
        return len(self._adoptions.update_many(entries))

    def retract(self, keys: Iterable[bytes]) -> None:
        """
        See L{btcp.handoff.actions.Retract}.
        """
        self._adoptions.delete_many([abi.pack_key(key) for key in keys])
