# SPDX-License-Identifier: MIT
"""
Access by root to files in directories that other users may write to.

A user who can write to a directory can at any moment replace a name in it by a symbolic or hard
link to a file that only root may change.  Therefore root acts with its own permissions only in
directories that no other user can write to, and elsewhere with those of the user that the daemon
changes to.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from btcp.daemon import privileges

Owner = tuple[int, int]
"""uid and gid."""

_MAX_LINKS = 40
"""The number of symbolic links that the kernel follows, see C{path_resolution(7)}."""

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def owner_of(user: str | None) -> Owner | None:
    """
    Determine the owner of the files that the daemon writes.

    @param user: the configured user.
    @return: L{None} if this process is not root, or stays root.
    @raise PrivilegeError: if there is no such user.
    """
    return privileges.account(user) if os.geteuid() == 0 and user is not None else None


def is_roots(directory: str | Path) -> bool:
    """
    Check that only root can replace a name in C{directory} or in a directory on the path to it.

    A directory on the path may be sticky, such as C{/tmp}: only root can rename what root owns
    there.  A part of the path that does not exist counts as root's, which will create it.
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
    Follow symbolic links for as long as the directory that contains the link is root's.

    @return: a path that is not a link if its directory is root's.
    """
    for _ in range(_MAX_LINKS):
        if not (is_roots(path.parent) and path.is_symlink()):
            break
        path = path.parent / os.readlink(path)
    return path


@contextmanager
def acting_as(owner: Owner) -> Iterator[None]:
    """
    Context manager that accesses files with a user's permissions.  To be used by root, while the
    process has one thread.
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
    Make an C{opener} argument for C{open}, with which root opens a file for the daemon's user.
    """

    def opens(path: str, flags: int) -> int:
        if os.geteuid() != 0:  # the process has changed to the user
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
    Create a directory unless it exists, and change its owner.

    The owner of regular files in it is changed as well, if only root could write to the directory.
    Otherwise files are left alone, because they could be links.

    @param owner: the new owner; L{None} changes no owner.
    @param suffix: file names that are included; empty for none.
    @raise OSError: if the directory cannot be created or its owner cannot be changed.
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
