# SPDX-License-Identifier: MIT
"""
The clsact queueing discipline of a device, to which tc programs are attached; other software may
use it as well.
"""

from __future__ import annotations

from ctypes import byref, sizeof
from errno import EEXIST, EINVAL, ENODEV, ENOENT

from btcp.datapath.ebpf.libbpf import HookRecord, Library, OptionsRecord

INGRESS = 1
EGRESS = 2
_REPLACE = 1

_PARENTS = {INGRESS: 0xFFFFFFF2, EGRESS: 0xFFFFFFF3}  # linux/pkt_sched.h

_HANDLE = 1
_PRIORITY = 0xB7C
"""Ours among other filters of the device: so a later start finds what an earlier one left."""

_NAMES = "btcp_"
"""What the names of our programs begin with."""


class Hook:
    """
    A device's clsact hook.
    """

    def __init__(self, library: Library, device_index: int) -> None:
        self._library = library
        self._index = device_index
        self._attached = False
        self._ours = False

    def attach(self, direction: int, program: int) -> None:
        """
        Attach a program, instead of what an earlier start left here.

        @param direction: L{INGRESS} or L{EGRESS}.
        @raise OSError: if the kernel would not, or if somebody else's filter is where
            ours would be.
        """
        left = self._left(direction)
        self._attached = True
        hook = self._hook(direction)
        try:
            self._library.call("bpf_tc_hook_create", byref(hook))
            self._ours = True
        except OSError as problem:
            if problem.errno != EEXIST:
                raise
            self._ours |= left  # who left a filter had most likely made the hook
        flags = _REPLACE if left else 0
        options = OptionsRecord(sizeof(OptionsRecord), program, flags, 0, _HANDLE, _PRIORITY)
        self._library.call("bpf_tc_attach", byref(hook), byref(options))

    def detach(self, direction: int) -> bool:
        """
        Take our program off, if it is there.

        @return: whether it was.
        """
        if not self._left(direction):
            return False
        self._ours |= not self._attached
        options = OptionsRecord(sizeof(OptionsRecord), 0, 0, 0, _HANDLE, _PRIORITY)
        try:
            self._library.call("bpf_tc_detach", byref(self._hook(direction)), byref(options))
        except OSError as problem:
            if problem.errno not in (ENOENT, EINVAL, ENODEV):  # gone by itself
                raise
            return False
        return True

    def remove(self) -> None:
        """
        Remove the hook, if it was we who made it, and nobody else uses it by now.
        """
        if self._ours and not any(self._filters(direction) for direction in _PARENTS):
            try:
                hook = self._hook(INGRESS | EGRESS)
                self._library.call("bpf_tc_hook_destroy", byref(hook))
            except OSError as problem:
                if problem.errno not in (ENOENT, EINVAL, ENODEV):
                    raise
        self._ours = False

    def program_id(self, direction: int) -> int | None:
        """
        @return: the kernel's number of the program of ours that is attached, if one is.
        """
        if not self._left(direction):
            return None
        options = OptionsRecord(sizeof(OptionsRecord), 0, 0, 0, _HANDLE, _PRIORITY)
        self._library.call("bpf_tc_query", byref(self._hook(direction)), byref(options))
        return int(options.prog_id)

    def attached(self, direction: int) -> int:
        """
        @return: the kernel's number of the program in our place; 0 if there is none.
        """
        options = OptionsRecord(sizeof(OptionsRecord), 0, 0, 0, _HANDLE, _PRIORITY)
        try:
            self._library.call("bpf_tc_query", byref(self._hook(direction)), byref(options))
        except OSError:  # no device, no hook, no filter
            return 0
        return int(options.prog_id)

    def _hook(self, direction: int) -> HookRecord:
        return HookRecord(sizeof(HookRecord), self._index, direction, 0)

    def _left(self, direction: int) -> bool:
        """
        @return: whether a program of ours is attached.
        """
        ours = self._filters(direction).get((_PRIORITY, _HANDLE))
        return ours is not None and ours.startswith(_NAMES)

    def _filters(self, direction: int) -> dict[tuple[int, int], str]:
        """
        @return: by priority and handle, the names of all filters.
        """
        # Imported when it is needed: that takes longer than all of most commands.
        from pyroute2 import IPRoute
        from pyroute2.netlink.exceptions import NetlinkError

        found = {}
        try:
            with IPRoute() as route:
                for each in route.get_filters(index=self._index, parent=_PARENTS[direction]):
                    if each["handle"]:  # else it is a priority's head
                        options = each.get_attr("TCA_OPTIONS")
                        name = options.get_attr("TCA_BPF_NAME") if options is not None else None
                        found[each["info"] >> 16, each["handle"]] = str(name)
        except NetlinkError as problem:
            if problem.code not in (ENOENT, EINVAL, ENODEV):  # no hook, no device
                raise OSError(problem.code, "cannot list the filters of the device") from problem
        return found
