# SPDX-License-Identifier: MIT
"""
The maps of a daemon that is gone, found by the programs it left on the device.
"""

from __future__ import annotations

import os
from ctypes import addressof, byref, c_uint32, create_string_buffer
from errno import EPERM
from socket import if_nametoindex
from struct import Struct

from attrs import frozen
from twisted.logger import Logger

from btcp.datapath.ebpf import abi
from btcp.datapath.ebpf.hook import EGRESS, INGRESS, Hook
from btcp.datapath.ebpf.libbpf import Library, Map
from btcp.datapath.interface import DatapathError, Identity

INHERITED = {
    "routes": (abi.KEY.size, abi.ROUTE.size),
    "memos": (abi.KEY.size, abi.MEMO.size),
    "identity": (abi.WORD.size, abi.IDENTITY.size),
    "fronts": (abi.WORD.size, abi.FRONT.size),
}
"""Octets of key and value of the maps that outlive a daemon."""

# linux/bpf.h: in struct bpf_prog_info, the number of maps and where to write their ids;
# struct bpf_map_info up to the name.
_PROGRAM_MAPS = Struct("=52xIQ")
_MAP = Struct("=IIIIII16s")

_NOBODYS = 0xFFFFFFFF
"""No map has this number, for they are signed."""

_MOST_MAPS = 64
"""Of a program; the kernel's own bound is MAX_USED_MAPS."""

log = Logger()


@frozen(slots=True)
class Inheritance:
    """
    What a daemon left that went without taking it down.

    @ivar identity: of the daemon that is to have it now.
    @ivar maps: a file descriptor for each of L{INHERITED}, closed by L{close}; none if
        there are no flows.
    """

    identity: Identity
    maps: dict[str, int]

    def close(self) -> None:
        """
        Whoever has use for the maps has them by now.
        """
        for fd in self.maps.values():
            os.close(fd)
        self.maps.clear()


def allowed() -> bool:
    """
    Whether the kernel lets us get at maps by their numbers, as it would let the next
    daemon that is started like this one.  It takes C{CAP_SYS_ADMIN}.
    """
    try:
        os.close(int(Library().call("bpf_map_get_fd_by_id", _NOBODYS)))
    except DatapathError:
        return False
    except OSError as problem:
        return problem.errno != EPERM
    return True


def find(device: str) -> Inheritance | None:
    """
    Look at a device, with rights that a daemon may give up before it starts.

    @return: what can be taken over, C{None} if nothing can.
    """
    try:
        library = Library()
        maps = _maps(library, if_nametoindex(device))
    except (DatapathError, OSError) as problem:
        log.info("nothing is taken over: {why}", why=str(problem))
        return None
    if not maps:
        return None
    try:
        identity = _check(library, maps)
    except (DatapathError, OSError) as problem:
        log.warn("what an earlier daemon left is not taken over: {why}", why=str(problem))
        for fd, _ in maps.values():
            os.close(fd)
        return None
    # Without flows there is nothing to keep the old sizes for.
    used = any(True for _ in Map(library, maps["memos"][0], abi.MEMO.size).items(abi.KEY.size))
    chosen = {name: maps.pop(name)[0] for name in INHERITED} if used else {}
    for fd, _ in maps.values():
        os.close(fd)
    return Inheritance(identity, chosen)


def _maps(library: Library, device_index: int) -> dict[str, tuple[int, tuple[int, int]]]:
    """
    @return: of the maps of our programs on the device: file descriptor, and octets of
        key and value, by name.
    """
    hook = Hook(library, device_index)
    found: dict[str, tuple[int, tuple[int, int]]] = {}
    for direction in (INGRESS, EGRESS):
        program = hook.program_id(direction)
        for number in _map_ids(library, program) if program is not None else ():
            fd = int(library.call("bpf_map_get_fd_by_id", number))
            info = _ask(library, fd, _MAP.size)
            _, _, key_size, value_size, _, _, name = _MAP.unpack(info)
            known = name.rstrip(b"\0").decode(errors="replace")
            if known in found:
                os.close(fd)
            else:
                found[known] = fd, (key_size, value_size)
    return found


def _map_ids(library: Library, program: int) -> list[int]:
    fd = int(library.call("bpf_prog_get_fd_by_id", program))
    try:
        ids = (c_uint32 * _MOST_MAPS)()
        request = _PROGRAM_MAPS.pack(_MOST_MAPS, addressof(ids))
        count, _ = _PROGRAM_MAPS.unpack(_ask(library, fd, _PROGRAM_MAPS.size, request))
        return list(ids[: min(count, _MOST_MAPS)])
    finally:
        os.close(fd)


def _ask(library: Library, fd: int, size: int, request: bytes = b"") -> bytes:
    """
    @param request: what the kernel is told of where to write.
    @return: the first C{size} octets of what the kernel has to say of an object.
    """
    info = create_string_buffer(request, size)
    length = c_uint32(size)
    library.call("bpf_obj_get_info_by_fd", fd, addressof(info), byref(length))
    return info.raw


def _check(library: Library, maps: dict[str, tuple[int, tuple[int, int]]]) -> Identity:
    """
    @raise DatapathError: if they are not as we would make them.
    """
    for name, sizes in INHERITED.items():
        if name not in maps:
            raise DatapathError(f"there is no map {name!r}: it is of an older version")
        if maps[name][1] != sizes:
            raise DatapathError(f"map {name!r} has entries of another size")
    record = Map(library, maps["identity"][0], abi.IDENTITY.size).lookup(abi.WORD.pack(0)) or b""
    epoch, version, starts, secret = abi.IDENTITY.unpack(record)
    if version != abi.VERSION:
        raise DatapathError(f"the layouts are of version {version}, not {abi.VERSION}")
    return Identity(epoch, starts + 1, secret)
