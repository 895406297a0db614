# SPDX-License-Identifier: MIT
"""
Linux capabilities: the ones that the daemon needs, and changing from root to another user.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable
from ctypes import CDLL, Structure, byref, c_int, c_uint32, c_ulong, get_errno
from pathlib import Path

from attrs import frozen

# linux/capability.h
NET_ADMIN, NET_RAW, PERFMON, BPF = 12, 13, 38, 39
_VERSION_3 = 0x20080522

# linux/prctl.h
_SET_KEEPCAPS = 8
_CAPBSET_DROP = 24
_SET_NO_NEW_PRIVS = 38
_CAP_AMBIENT, _AMBIENT_RAISE = 47, 2

_STATUS = Path("/proc/self/status")


class PrivilegeError(Exception):
    """
    A change of user or capabilities that failed; the text is the reason, in one line.
    """


@frozen
class Capability:
    """
    A capability that the daemon uses.

    @ivar number: its number in C{linux/capability.h}.
    @ivar why: the purpose for which the daemon uses it.
    """

    name: str
    number: int
    why: str


ALWAYS = (
    Capability("CAP_NET_ADMIN", NET_ADMIN, "the TAP device, the packet filter, tc filters"),
    Capability("CAP_NET_RAW", NET_RAW, "packet and raw sockets"),
)
EBPF = Capability("CAP_BPF", BPF, "to load the tc programs")
COOKIE = Capability("CAP_PERFMON", PERFMON, "adoption by cookie, whose program holds sockets")
ALL = (*ALWAYS, EBPF, COOKIE)
"""The capabilities that the daemon keeps.  It does not need CAP_SYS_ADMIN."""

_NUMBERS = frozenset(each.number for each in ALL)
_LIBC = CDLL(None, use_errno=True)


class _Header(Structure):
    _fields_ = [("version", c_uint32), ("pid", c_int)]


class _Sets(Structure):
    """
    C{struct __user_cap_data_struct}: 32 bits of each of the three sets.
    """

    _fields_ = [("effective", c_uint32), ("permitted", c_uint32), ("inheritable", c_uint32)]


def needed(datapath: str, adoption: str) -> tuple[Capability, ...]:
    """
    List the capabilities that a configuration requires.  C{auto} requires none for what it can
    do without.
    """
    ebpf = datapath == "ebpf" or adoption == "cookie"
    return (*ALWAYS, *([EBPF] if ebpf else []), *([COOKIE] if adoption == "cookie" else []))


def held(status: Path = _STATUS) -> frozenset[int]:
    """
    Read a process's effective capabilities.

    @param status: C{/proc/PID/status} of the process.
    @return: their numbers.
    """
    text = status.read_text().partition("CapEff:")[2].split()[0]
    bits = int(text, 16)
    return frozenset(number for number in range(bits.bit_length()) if bits >> number & 1)


def lacking(wanted: Iterable[Capability], having: frozenset[int] | None = None) -> list[str]:
    """
    Return the names of the capabilities that are not effective.

    @param having: numbers of effective capabilities; by default those of this process.
    """
    having = held() if having is None else having
    return [each.name for each in wanted if each.number not in having]


def hand_on(numbers: Iterable[int] | None = None) -> None:
    """
    Drop all other capabilities, and make these inheritable and ambient, so that programs that
    the daemon runs (C{nft}) have them as well.

    @param numbers: permitted capabilities; by default those of L{ALL} that are effective.
    @raise PrivilegeError: if the kernel refuses.
    """
    kept = held() & _NUMBERS if numbers is None else numbers
    sets = (_Sets * 2)()
    for number in kept:
        half, bit = sets[number // 32], 1 << number % 32
        half.effective |= bit
        half.permitted |= bit
        half.inheritable |= bit
    if _LIBC.capset(byref(_Header(_VERSION_3, 0)), sets):
        raise PrivilegeError(f"cannot set capabilities: {os.strerror(get_errno())}")
    for number in kept:
        _prctl(_CAP_AMBIENT, _AMBIENT_RAISE, number)


def account(user: str) -> tuple[int, int]:
    """
    Look up a user.

    @return: uid and gid.
    @raise PrivilegeError: if there is no such user.
    """
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise PrivilegeError(f"user: there is no user {user!r} on this host") from None
    return entry.pw_uid, entry.pw_gid


def become(user: str) -> None:
    """
    Change irrevocably from root to another user, keeping the daemon's capabilities.

    Must be called while the process has one thread: capabilities are per thread.

    @raise PrivilegeError: if the user does not exist or the kernel refuses.
    """
    uid, gid = account(user)
    having = held()
    for number in sorted(having - _NUMBERS):
        _prctl(_CAPBSET_DROP, number)
    _prctl(_SET_KEEPCAPS, 1)
    try:
        os.initgroups(user, gid)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    except OSError as problem:
        raise PrivilegeError(f"cannot change to user {user}: {problem.strerror}") from problem
    hand_on(having & _NUMBERS)  # setresuid keeps the permitted set and clears the effective one
    _prctl(_SET_NO_NEW_PRIVS, 1)


def _prctl(option: int, first: int, second: int = 0) -> None:
    if _LIBC.prctl(option, *(c_ulong(each) for each in (first, second, 0, 0))):
        raise PrivilegeError(f"prctl {option} with {first}: {os.strerror(get_errno())}")
