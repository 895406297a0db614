# SPDX-License-Identifier: MIT
"""
Debian's kernel packages, downloaded and unpacked beside each other.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

SERIES = ("6.1", "6.12")
"""The kernels that Debian 12 offers: its own, and the one of its security suite."""

_NAME = re.compile(r"^linux-image-(\d+\.\d+)[.\d+a-z-]*-amd64$")
_FLAVOURS = ("cloud", "rt", "dbg", "unsigned")


class KernelError(Exception):
    """
    A kernel cannot be had or booted; the message says why.
    """


@frozen
class Kernel:
    """
    An unpacked kernel package.

    @ivar release: as C{uname -r} prints it.
    @ivar image: the file that QEMU boots.
    @ivar modules: the directory C{lib/modules/RELEASE}.
    """

    release: str
    image: Path
    modules: Path


def _command(*argv: str, cwd: Path | None = None) -> str:
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise KernelError(f"{argv[0]}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def newest(series: str, names: Sequence[str]) -> str:
    """
    Choose the newest plain package of a series, such as C{6.1}.

    @raise KernelError: no package is of this series.
    """
    found = [
        name
        for name in names
        if (match := _NAME.match(name))
        and match[1] == series
        and not any(f"-{flavour}" in name for flavour in _FLAVOURS)
    ]
    if not found:
        raise KernelError(f"the package sources have no kernel {series}")
    return max(found, key=lambda name: [int(part) for part in re.findall(r"\d+", name)])


def unpacked(series: str, cache: Path) -> Kernel:
    """
    Download the newest kernel of a series, unless that was done before, and unpack it.

    @param cache: the directory below which each package gets one of its own.
    @raise KernelError: the package sources do not have it, or it lacks a file.
    """
    package = newest(series, _command("apt-cache", "pkgnames", "linux-image-").split())
    place = cache / package
    if not place.exists():
        cache.mkdir(parents=True, exist_ok=True)
        _command("apt-get", "-qq", "download", package, cwd=cache)
        (archive,) = cache.glob(f"{package}_*.deb")
        _command("dpkg-deb", "--extract", str(archive), str(place))
        archive.unlink()
    (image,) = (place / "boot").glob("vmlinuz-*")
    release = image.name.removeprefix("vmlinuz-")
    _command("depmod", "--basedir", str(place), release)
    return Kernel(release, image, place / "lib" / "modules" / release)
