# SPDX-License-Identifier: MIT
"""
Routes of clients that do not exist, put into the table of a running daemon's kernel programs.

The daemon does not know of them; the programs look up and pass over them as over any other.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from ctypes import CDLL, byref, c_uint32, create_string_buffer
from functools import cache
from pathlib import Path

from attrs import frozen

from btcp.datapath.ebpf import abi
from btcp.handoff.route import ENDING, Route
from btcp.handoff.splice import Rewriter, Splice
from btcp.lab.programs import LabError

_SOURCE = bytes((203, 0, 113))
_TABLE = b"routes"
_NAME_AT, _NAME_SIZE = 24, 16
"""Where C{struct bpf_map_info} (linux/bpf.h) has the map's name."""

_PER_ADDRESS = 60_000
_CHUNK = 50_000


@frozen
class Table:
    """
    @ivar fd: ours.
    @ivar entries: how many there can be.
    @ivar octets: of kernel memory.
    """

    fd: int
    entries: int
    octets: int


def find(pid: int) -> Table:
    """
    @param pid: of a daemon.
    @return: its table of routes.
    @raise LabError: it has none.
    """
    library = _library()
    for path in Path(f"/proc/{pid}/fdinfo").iterdir():
        fields = _fields(path)
        if "map_id" not in fields:
            continue
        fd = library.bpf_map_get_fd_by_id(c_uint32(int(fields["map_id"])))
        if fd < 0:
            continue
        info, size = create_string_buffer(256), c_uint32(256)
        library.bpf_obj_get_info_by_fd(fd, info, byref(size))
        if info.raw[_NAME_AT : _NAME_AT + _NAME_SIZE].rstrip(b"\0") == _TABLE:
            return Table(fd, int(fields["max_entries"]), int(fields["memlock"]))
    raise LabError(f"the daemon {pid} has no table of routes in the kernel")


def _fields(path: Path) -> Mapping[str, str]:
    try:
        lines = path.read_text().splitlines()
    except OSError:  # closed since
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def fill(table: Table, destination: bytes, count: int) -> None:
    """
    @param destination: the address and the port that the clients are said to have connected to.
    @raise LabError: there is no room.
    """
    library, value = _library(), _value(destination)
    for keys in _keys(destination, count):
        wanted = len(keys) // abi.KEY.size
        done = c_uint32(wanted)
        if library.bpf_map_update_batch(table.fd, keys, value * wanted, byref(done), None):
            raise LabError(f"only {done.value} of {wanted} more routes fit into the table")


def clear(table: Table, destination: bytes, count: int) -> int:
    """
    Take out what L{fill} put in.

    @return: how many were there still; one that was not ends the count.
    """
    library, found = _library(), 0
    for keys in _keys(destination, count):
        done = c_uint32(len(keys) // abi.KEY.size)
        failed = library.bpf_map_delete_batch(table.fd, keys, byref(done), None)
        found += done.value
        if failed:
            break
    return found


def key(number: int, destination: bytes) -> bytes:
    """
    @return: of a client's packets, as in L{btcp.wire.segment.Segment.key}.
    """
    host, port = divmod(number, _PER_ADDRESS)
    source = _SOURCE + bytes((host + 1,))
    return source + destination[:4] + (1024 + port).to_bytes(2, "big") + destination[4:]


@cache
def _keys(destination: bytes, count: int) -> Sequence[bytes]:
    """
    @return: C{struct btcp_key} after C{struct btcp_key}, so many at a time.
    """
    chunks = (range(first, min(first + _CHUNK, count)) for first in range(0, count, _CHUNK))
    return [
        b"".join(abi.pack_key(key(number, destination)) for number in chunk) for chunk in chunks
    ]


def _value(destination: bytes) -> bytes:
    sample = key(0, destination)
    rule = Splice(old=sample, new=sample, seq=1, ack=1, tsval=0, tsecr=0, shift=0)
    return abi.pack_route(Route(sample, Rewriter(rule), local=False, punt=ENDING, now=0.0))


def _library() -> CDLL:
    library = CDLL("libbpf.so.1")
    pointer = ctypes.c_void_p
    library.bpf_map_update_batch.argtypes = (
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_char_p,
        pointer,
        pointer,
    )
    library.bpf_map_delete_batch.argtypes = (ctypes.c_int, ctypes.c_char_p, pointer, pointer)
    library.bpf_map_get_fd_by_id.argtypes = (c_uint32,)
    return library
