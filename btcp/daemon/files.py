# SPDX-License-Identifier: MIT
"""
Access by root to files in directories that others may write to.

A user who can write to a directory can replace any name in it, at any moment, by a symbolic or
hard link to a file that only root may touch.  So root acts in directories that are root's alone.
Elsewhere it acts as the user that the daemon is going to be, who gains nothing by fooling itself.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from btcp.daemon import privileges

Owner = tuple[int, int]
"""The numbers of a user and a group."""

_MAX_LINKS = 40
"""As many the kernel follows, see C{path_resolution(7)}."""

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def owner_of(user: str | None) -> Owner | None:
    """
    @param user: what the configuration names.
    @return: who is going to own what the daemon writes; L{None} if this process is not root, or
        stays root.
    @raise PrivilegeError: if there is no such user.
    """
    return privileges.account(user) if os.geteuid() == 0 and user is not None else None


def is_roots(directory: str | Path) -> bool:
    """
    Decide whether only root can replace a name in C{directory}, or a name on the way to it.

    On the way, a directory may be sticky, as C{/tmp} is: what root owns there, only root can
    rename.  What does not exist yet is root's to make.
    """
    here, ahead, links = Path("/"), list(Path(os.path.abspath(directory)).parts[:0:-1]), 0
    while _only_root_writes(here, on_the_way=bool(ahead)):
        if not ahead:
            return True
        name = ahead.pop()
        there = here.parent if name == ".." else here / name
        try:
            status = os.lstat(there)
        except FileNotFoundError:
            return True
        if not stat.S_ISLNK(status.st_mode):
            here = there
            continue
        links += 1
        if status.st_uid != 0 or links > _MAX_LINKS:
            return False
        target = Path(os.readlink(there))
        here = Path("/") if target.is_absolute() else here
        ahead += [part for part in reversed(target.parts) if part != "/"]
    return False


def _only_root_writes(directory: Path, on_the_way: bool) -> bool:
    status = os.lstat(directory)
    sticky = on_the_way and status.st_mode & stat.S_ISVTX
    return status.st_uid == 0 and bool(not status.st_mode & _OTHERS_WRITE or sticky)


def _followed(path: Path) -> Path:
    """
    Follow the links that root made, as far as they are root's.

    @return: no link, if the directory that it is in is root's.
    """
    for _ in range(_MAX_LINKS):
        if not (is_roots(path.parent) and path.is_symlink()):
            break
        path = path.parent / os.readlink(path)
    return path


@contextmanager
def acting_as(owner: Owner) -> Iterator[None]:
    """
    Access files as a user.  To be called by root, while there is one thread.
    """
    groups, gid, uid = os.getgroups(), os.getegid(), os.geteuid()
    os.setgroups([owner[1]])
    os.setegid(owner[1])
    os.seteuid(owner[0])
    try:
        yield
    finally:
        os.seteuid(uid)
        os.setegid(gid)
        os.setgroups(groups)


def opener(owner: Owner) -> Callable[[str, int], int]:
    """
    Make root's C{opener} of a file that the daemon is going to own, as C{open} takes one.
    """

    def opens(path: str, flags: int) -> int:
        if os.geteuid() != 0:  # it is the user by now
            return os.open(path, flags, 0o666)
        real = _followed(Path(os.path.abspath(path)))
        if not is_roots(real.parent):
            with acting_as(owner):
                return os.open(real, flags | os.O_NONBLOCK, 0o666)
        fd = os.open(real, flags | os.O_NOFOLLOW, 0o666)
        if stat.S_ISREG(os.fstat(fd).st_mode):
            os.fchown(fd, *owner)
        return fd

    return opens


def make_directory(path: Path, owner: Owner | None, suffix: str = "") -> None:
    """
    Make a directory unless it is there, and give it to its owner.

    If it was root's alone, regular files in it are given away with it.  Nothing is done to files in
    a directory that others could write to: they could be links.

    @param owner: L{None} if this process is not root, or is going to stay root.
    @param suffix: of the names of the files; empty for none.
    @raise OSError: if the directory cannot be made or given away.
    """
    if owner is None:
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
        return
    path = _followed(path)
    if not is_roots(path.parent):
        with acting_as(owner):
            path.mkdir(mode=0o755, parents=True, exist_ok=True)
        return
    path.mkdir(mode=0o755, parents=True, exist_ok=True)
    names = [name for name in os.listdir(path) if suffix and name.endswith(suffix)]
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if is_roots(path):
            for name in names:
                _give(name, fd, owner)
        os.fchown(fd, *owner)
    finally:
        os.close(fd)


def _give(name: str, directory: int, owner: Owner) -> None:
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    try:
        if stat.S_ISREG(os.fstat(fd).st_mode):
            os.fchown(fd, *owner)
    finally:
        os.close(fd)
