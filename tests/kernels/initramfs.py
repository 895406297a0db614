# SPDX-License-Identifier: MIT
"""
The first file system of a booted kernel: enough to mount this machine's root and go on there.
"""

from __future__ import annotations

import lzma
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.kernels.packages import Kernel

_NEEDED = ("virtio_pci", "virtiofs", "overlay")
_BUSYBOX = Path("/bin/busybox")

_INIT = """\
#!/bin/busybox sh
busybox mkdir -p /proc /sys /dev /lower /upper /new
busybox mount -t proc proc /proc
busybox mount -t sysfs sysfs /sys
busybox mount -t devtmpfs devtmpfs /dev
for module in /modules/*.ko; do busybox insmod $module; done
busybox mount -t virtiofs root /lower || echo "no root over virtiofs"
busybox mount -t tmpfs tmpfs /upper
busybox mkdir /upper/data /upper/work
busybox mount -t overlay -o lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work overlay /new
for place in run tmp; do busybox mount -t tmpfs tmpfs /new/$place; done
for place in proc sys dev; do busybox mount --move /$place /new/$place; done
busybox mount -t bpf bpf /new/sys/fs/bpf
busybox mount -t cgroup2 cgroup2 /new/sys/fs/cgroup
busybox mkdir -p /new/dev/pts /new/dev/shm /new/lib/modules/@RELEASE@ /new/run/netns /new/run/lock
busybox mount -t devpts devpts /new/dev/pts
busybox mount -t tmpfs tmpfs /new/dev/shm
busybox mount --bind /new@MODULES@ /new/lib/modules/@RELEASE@
busybox ip link set lo up
busybox chroot /new /sbin/modprobe tun
exec busybox switch_root /new /bin/busybox sh -c '@COMMAND@
busybox echo "@MARK@ $?"
busybox poweroff -f'
"""

MARK = "kernel-test-exit-status"
"""What the line with the command's exit status begins with."""


def _dependencies(kernel: Kernel) -> Iterator[tuple[str, bytes]]:
    """
    Find the modules that reach the root file system, each after those that it depends on.
    """
    base = kernel.modules.parents[2]
    seen = set()
    for name in _NEEDED:
        shown = subprocess.run(
            [
                "modprobe",
                "--dirname",
                base,
                "--set-version",
                kernel.release,
                "--show-depends",
                name,
            ],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for line in shown.splitlines():
            kind, _, rest = line.partition(" ")
            path = Path(rest.strip())
            if kind == "insmod" and path not in seen:
                seen.add(path)
                content = path.read_bytes()
                yield (
                    path.name.removesuffix(".xz"),
                    (lzma.decompress(content) if path.suffix == ".xz" else content),
                )


def _entry(name: str, mode: int, content: bytes = b"") -> bytes:
    """
    One file of a cpio archive in the format C{newc}.
    """
    path = name.encode() + b"\0"
    fields = (0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(path), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields) + path
    return header + b"\0" * (-len(header) % 4) + content + b"\0" * (-len(content) % 4)


def archive(kernel: Kernel, command: str) -> bytes:
    """
    Make a file system whose init runs a command in this machine's root and powers off.

    @param command: for C{sh -c}, without single quotes.
    @return: a cpio archive; the kernel prints L{MARK} and the exit status when the command ends.
    """
    init = (
        _INIT.replace("@RELEASE@", kernel.release)
        .replace("@MODULES@", str(kernel.modules))
        .replace("@COMMAND@", command)
        .replace("@MARK@", MARK)
    )
    executable, directory = stat.S_IFREG | 0o755, stat.S_IFDIR | 0o755
    entries = [_entry("bin", directory), _entry("modules", directory)]
    entries.append(_entry("bin/busybox", executable, _BUSYBOX.read_bytes()))
    entries.append(_entry("init", executable, init.encode()))
    for place, (name, content) in enumerate(_dependencies(kernel)):
        entries.append(_entry(f"modules/{place:02}-{name}", executable, content))
    entries.append(_entry("TRAILER!!!", 0))
    return b"".join(entries)
