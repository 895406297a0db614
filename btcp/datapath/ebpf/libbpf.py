# SPDX-License-Identifier: MIT
"""
As much of libbpf 1.x as the datapath needs, with types and exceptions.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from ctypes import (
    CDLL,
    CFUNCTYPE,
    POINTER,
    Structure,
    addressof,
    byref,
    c_char_p,
    c_int,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
    create_string_buffer,
    get_errno,
    sizeof,
    string_at,
)
from errno import E2BIG, EBUSY, EEXIST, EINVAL, ENOENT, ENOMEM
from typing import Any

from attrs import frozen

from btcp.datapath.interface import DatapathError

_LIBRARY = "libbpf.so.1"

_HEADROOM = 256
"""Octets by which a program might make a packet longer."""

_VERIFIED = 216
"""Where C{verified_insns} is in C{struct bpf_prog_info} (linux/bpf.h, Linux 5.16)."""


class HookRecord(Structure):
    """
    C{struct bpf_tc_hook}.
    """

    _fields_ = (
        ("sz", c_size_t),
        ("ifindex", c_int),
        ("attach_point", c_uint32),
        ("parent", c_uint32),
    )


class OptionsRecord(Structure):
    """
    C{struct bpf_tc_opts}.
    """

    _fields_ = (
        ("sz", c_size_t),
        ("prog_fd", c_int),
        ("flags", c_uint32),
        ("prog_id", c_uint32),
        ("handle", c_uint32),
        ("priority", c_uint32),
    )


class _TestRun(Structure):
    _fields_ = (
        ("sz", c_size_t),
        ("data_in", c_char_p),
        ("data_out", c_void_p),
        ("data_size_in", c_uint32),
        ("data_size_out", c_uint32),
        ("ctx_in", c_char_p),
        ("ctx_out", c_void_p),
        ("ctx_size_in", c_uint32),
        ("ctx_size_out", c_uint32),
        ("retval", c_uint32),
        ("repeat", c_int),
        ("duration", c_uint32),
        ("flags", c_uint32),
        ("cpu", c_uint32),
        ("batch_size", c_uint32),
    )


_POINTER = c_void_p
SAMPLE = CFUNCTYPE(c_int, c_void_p, c_void_p, c_size_t)
"""C{ring_buffer_sample_fn}."""

_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "bpf_object__open_file": (_POINTER, (c_char_p, c_void_p)),
    "bpf_object__load": (c_int, (_POINTER,)),
    "bpf_object__close": (None, (_POINTER,)),
    "bpf_object__find_program_by_name": (_POINTER, (_POINTER, c_char_p)),
    "bpf_object__find_map_by_name": (_POINTER, (_POINTER, c_char_p)),
    "bpf_program__fd": (c_int, (_POINTER,)),
    "bpf_map__fd": (c_int, (_POINTER,)),
    "bpf_map__value_size": (c_uint32, (_POINTER,)),
    "bpf_map__set_max_entries": (c_int, (_POINTER, c_uint32)),
    "bpf_map__set_initial_value": (c_int, (_POINTER, c_void_p, c_size_t)),
    "bpf_map_update_elem": (c_int, (c_int, c_void_p, c_void_p, c_uint64)),
    "bpf_map_lookup_elem": (c_int, (c_int, c_void_p, c_void_p)),
    "bpf_map_delete_elem": (c_int, (c_int, c_void_p)),
    "bpf_map_update_batch": (c_int, (c_int, c_void_p, c_void_p, POINTER(c_uint32), c_void_p)),
    "bpf_map_delete_batch": (c_int, (c_int, c_void_p, POINTER(c_uint32), c_void_p)),
    "bpf_map_lookup_batch": (
        c_int,
        (c_int, c_void_p, c_void_p, c_void_p, c_void_p, POINTER(c_uint32), c_void_p),
    ),
    "ring_buffer__new": (_POINTER, (c_int, SAMPLE, c_void_p, c_void_p)),
    "ring_buffer__consume": (c_int, (_POINTER,)),
    "ring_buffer__epoll_fd": (c_int, (_POINTER,)),
    "ring_buffer__free": (None, (_POINTER,)),
    "bpf_map_get_next_key": (c_int, (c_int, c_void_p, c_void_p)),
    "bpf_map__reuse_fd": (c_int, (_POINTER, c_int)),
    "bpf_map_get_fd_by_id": (c_int, (c_uint32,)),
    "bpf_prog_get_fd_by_id": (c_int, (c_uint32,)),
    "bpf_prog_bind_map": (c_int, (c_int, c_int, c_void_p)),
    "bpf_obj_get_info_by_fd": (c_int, (c_int, c_void_p, POINTER(c_uint32))),
    "bpf_prog_test_run_opts": (c_int, (c_int, POINTER(_TestRun))),
    "bpf_tc_hook_create": (c_int, (POINTER(HookRecord),)),
    "bpf_tc_hook_destroy": (c_int, (POINTER(HookRecord),)),
    "bpf_tc_attach": (c_int, (POINTER(HookRecord), POINTER(OptionsRecord))),
    "bpf_tc_query": (c_int, (POINTER(HookRecord), POINTER(OptionsRecord))),
    "bpf_tc_detach": (c_int, (POINTER(HookRecord), POINTER(OptionsRecord))),
    "libbpf_num_possible_cpus": (c_int, ()),
    "libbpf_set_print": (c_void_p, (c_void_p,)),
}


class Library:
    """
    libbpf itself.
    """

    def __init__(self) -> None:
        """
        @raise DatapathError: if it is not installed.
        """
        try:
            self._library = CDLL(_LIBRARY, use_errno=True)
        except OSError as problem:
            raise DatapathError(f"{_LIBRARY} is missing; install libbpf1") from problem
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(self._library, name)
            function.restype, function.argtypes = result, arguments
        # It explains failures on stderr, at length; the error numbers have to do.
        self._library.libbpf_set_print(None)

    def call(self, name: str, *arguments: Any) -> Any:
        """
        Call a function.

        @raise OSError: if it reports an error.
        """
        result = getattr(self._library, name)(*arguments)
        if result is None and _SIGNATURES[name][0] is _POINTER:
            number = get_errno()
            raise OSError(number, os.strerror(number), name)
        if isinstance(result, int) and result < 0 and _SIGNATURES[name][0] is c_int:
            raise OSError(-result, os.strerror(-result), name)
        return result


class Map:
    """
    A map of a loaded object.
    """

    def __init__(self, library: Library, fd: int, value_size: int) -> None:
        self._library = library
        self._fd = fd
        self._size = value_size

    def update(self, key: bytes, value: bytes) -> None:
        """
        @raise OSError: if there is no room.
        """
        self._library.call("bpf_map_update_elem", self._fd, key, value, 0)

    def update_many(self, entries: Mapping[bytes, bytes]) -> list[bytes]:
        """
        All at once, which costs little more than one.

        @return: the keys for which there was no room.
        """
        refused, left = [], list(entries)
        while left:
            done = self._many("bpf_map_update_batch", left, b"".join(entries[key] for key in left))
            refused += left[done : done + 1]
            left = left[done + 1 :]
        return refused

    def fill(self, values: bytes, count: int) -> None:
        """
        Write the first entries of an array.

        @param values: without gaps.
        """
        keys = b"".join(number.to_bytes(4, sys.byteorder) for number in range(count))
        self._library.call(
            "bpf_map_update_batch", self._fd, keys, values, byref(c_uint32(count)), None
        )

    def delete_many(self, keys: Sequence[bytes]) -> None:
        """
        Delete those of the keys that are there.
        """
        while keys:
            keys = keys[self._many("bpf_map_delete_batch", keys) + 1 :]

    def _many(self, function: str, keys: Sequence[bytes], *values: bytes) -> int:
        """
        @return: how many were done before one that could not be.
        """
        count = c_uint32(len(keys))
        try:
            self._library.call(function, self._fd, b"".join(keys), *values, byref(count), None)
        except OSError as problem:
            if problem.errno not in (ENOENT, E2BIG, EBUSY, ENOMEM):
                raise
        return count.value

    def lookup(self, key: bytes) -> bytes | None:
        """
        @return: the value, or C{None}.
        """
        value = create_string_buffer(self._size)
        try:
            self._library.call("bpf_map_lookup_elem", self._fd, key, value)
        except OSError as problem:
            if problem.errno == ENOENT:
                return None
            raise
        return value.raw

    def items(self, key_size: int) -> Iterator[tuple[bytes, bytes]]:
        """
        @return: all keys and their values.  What is added or deleted meanwhile may or may
            not be among them.
        """
        key, following = None, create_string_buffer(key_size)
        while True:
            try:
                self._library.call("bpf_map_get_next_key", self._fd, key, following)
            except OSError as problem:
                if problem.errno == ENOENT:
                    return
                raise
            key = following.raw
            value = self.lookup(key)
            if value is not None:
                yield key, value

    def chunks(self, key_size: int, size: int) -> Iterator[tuple[bytes, bytes]]:
        """
        As L{items}, many at once.

        @param size: about so many; at least as many as can be in a bucket.
        @return: keys, and their values in the same order, each without gaps.
        """
        before: Any = None
        cursor, keys = create_string_buffer(4), create_string_buffer(size * key_size)
        values, more = create_string_buffer(size * self._size), True
        while more:
            count = c_uint32(size)
            arguments = self._fd, before, cursor, keys, values, byref(count), None
            try:
                self._library.call("bpf_map_lookup_batch", *arguments)
            except OSError as problem:
                if problem.errno != ENOENT:
                    raise
                more = False  # it has come to the end
            before = create_string_buffer(cursor.raw, 4)
            yield keys.raw[: count.value * key_size], values.raw[: count.value * self._size]

    def delete(self, key: bytes) -> None:
        """
        Delete the key, if it is there.
        """
        try:
            self._library.call("bpf_map_delete_elem", self._fd, key)
        except OSError as problem:
            if problem.errno != ENOENT:
                raise


class Ring:
    """
    A map that programs write events to, in the order in which they happen.
    """

    def __init__(self, library: Library, fd: int, take: Callable[[bytes], None]) -> None:
        """
        @param take: called by L{consume} with each event.
        """

        def sample(context: int, data: int, size: int) -> int:
            take(string_at(data, size))
            return 0

        self._library = library
        self._sample = SAMPLE(sample)  # the library does not keep it alive
        self._ring = library.call("ring_buffer__new", fd, self._sample, None, None)
        self.fd: int = library.call("ring_buffer__epoll_fd", self._ring)

    def consume(self) -> None:
        """
        Take what is there.
        """
        self._library.call("ring_buffer__consume", self._ring)

    def close(self) -> None:
        """
        Nobody wants the events any more.
        """
        self._library.call("ring_buffer__free", self._ring)


@frozen(slots=True)
class Run:
    """
    What a program did.

    @ivar result: what it returned, 0-2**32.
    @ivar packet: as it is now.
    @ivar nanoseconds: that it took, on average.
    """

    result: int
    packet: bytes
    nanoseconds: int


class Object:
    """
    A compiled object file, from opening to closing.
    """

    def __init__(self, library: Library, path: str) -> None:
        """
        @raise OSError: if it cannot be read.
        """
        self._library = library
        self._object = library.call("bpf_object__open_file", path.encode(), None)
        self._programs: dict[str, int] = {}

    def close(self) -> None:
        """
        Forget the object; what is attached stays.
        """
        self._library.call("bpf_object__close", self._object)

    def resize(self, name: str, entries: int) -> None:
        """
        Say how many entries a map has, before it is loaded.
        """
        self._library.call("bpf_map__set_max_entries", self._map(name), entries)

    def set_constants(self, value: bytes) -> None:
        """
        Say what the program's constants are, before it is loaded.
        """
        self._library.call("bpf_map__set_initial_value", self._map(".rodata"), value, len(value))

    def reuse(self, name: str, fd: int) -> None:
        """
        Have a map of another object in place of a new one, before it is loaded.

        @param fd: is still the caller's to close.
        """
        self._library.call("bpf_map__reuse_fd", self._map(name), fd)

    def load(self) -> None:
        """
        @raise OSError: if the kernel will not have it.
        """
        self._library.call("bpf_object__load", self._object)

    def bind(self, name: str, program: str) -> None:
        """
        Have a map live as long as a program of the loaded object, which does not use it.
        """
        fd = self._library.call("bpf_map__fd", self._map(name))
        try:
            self._library.call("bpf_prog_bind_map", self.program(program), fd, None)
        except OSError as problem:
            if problem.errno != EEXIST:
                raise

    def map(self, name: str, value_size: int, copies: int = 1) -> Map:
        """
        @param copies: of a value, one for each processor.
        @return: a map of the loaded object.
        @raise OSError: if its values have another size; the kernel would write into memory
            that is not meant for it.
        """
        found = self._map(name)
        if self._library.call("bpf_map__value_size", found) != value_size:
            raise OSError(EINVAL, "values have another size: the object is out of date", name)
        fd = self._library.call("bpf_map__fd", found)
        return Map(self._library, fd, value_size * copies)

    def map_fd(self, name: str) -> int:
        """
        @return: the file descriptor of a map of the loaded object; the object closes it.
        """
        return int(self._library.call("bpf_map__fd", self._map(name)))

    def ring(self, name: str, take: Callable[[bytes], None]) -> Ring:
        """
        @param take: gets each event.
        @return: a ring buffer of the loaded object.
        """
        return Ring(self._library, self._library.call("bpf_map__fd", self._map(name)), take)

    def program(self, name: str) -> int:
        """
        @return: the file descriptor of a program of the loaded object.
        """
        known = self._programs.get(name)
        if known is None:
            found = self._library.call(
                "bpf_object__find_program_by_name", self._object, name.encode()
            )
            known = self._programs[name] = int(self._library.call("bpf_program__fd", found))
        return known

    def run(
        self, name: str, packet: bytes = b"", context: bytes = b"", repeat: int = 0, flags: int = 0
    ) -> Run:
        """
        Run a program of the loaded object here and now.

        @param packet: for a tc program, a frame.
        @param context: for a tc program, the beginning of a C{struct __sk_buff}; for a
            syscall program, its argument.
        @param repeat: how often; each time the packet is as the last time left it.
        @raise OSError: if the kernel would not.
        """
        output = create_string_buffer(len(packet) + _HEADROOM) if packet else None
        run = _TestRun(
            sz=sizeof(_TestRun),
            data_in=packet or None,
            data_out=None if output is None else addressof(output),
            data_size_in=len(packet),
            data_size_out=0 if output is None else len(output),
            ctx_in=context or None,
            ctx_size_in=len(context),
            repeat=repeat,
            flags=flags,
        )
        self._library.call("bpf_prog_test_run_opts", self.program(name), byref(run))
        left = b"" if output is None else output.raw[: run.data_size_out]
        return Run(run.retval, left, run.duration)

    def steps(self, name: str) -> int:
        """
        @return: how many instructions of a program of the loaded object the verifier had to
            look at; it gives up at a million.
        """
        info = create_string_buffer(_VERIFIED + 4)
        size = c_uint32(len(info))
        fd = self.program(name)
        self._library.call("bpf_obj_get_info_by_fd", fd, addressof(info), byref(size))
        return int.from_bytes(info.raw[_VERIFIED:], sys.byteorder)

    def _map(self, name: str) -> Any:
        return self._library.call("bpf_object__find_map_by_name", self._object, name.encode())
