# SPDX-License-Identifier: MIT
"""
QEMU, and this machine's root in it over virtiofs, read only.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.kernels.initramfs import MARK, archive
from tests.kernels.packages import Kernel, KernelError

_VIRTIOFSD = ("/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd")
_MEMORY = "2560M"
_HANGS = 600
"""Seconds after which a machine that has not powered off must hang; emulation is slow."""


def _file_server(socket: Path) -> subprocess.Popen[bytes]:
    for path in _VIRTIOFSD:
        if Path(path).exists():
            return subprocess.Popen(
                [path, f"--socket-path={socket}", "-o", "source=/,cache=always,sandbox=chroot"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
    raise KernelError("virtiofsd is missing (Debian: qemu-system-common)")


def run(kernel: Kernel, command: str, heard: Callable[[str], None]) -> int:
    """
    Boot a kernel, run a command in it and power it off.

    @param command: for C{sh -c}, without single quotes.
    @param heard: called with each line of the console.
    @return: the command's exit status.
    @raise KernelError: the machine ended without one.
    """
    with tempfile.TemporaryDirectory() as scratch:
        socket, initramfs = Path(scratch, "root.sock"), Path(scratch, "initramfs")
        initramfs.write_bytes(archive(kernel, command))
        with _file_server(socket) as server:
            try:
                return _boot(kernel, socket, initramfs, heard)
            finally:
                server.terminate()


def _boot(kernel: Kernel, socket: Path, initramfs: Path, heard: Callable[[str], None]) -> int:
    # fmt: off
    argv = [
        "timeout", str(_HANGS), "qemu-system-x86_64", "-machine", "q35",
        "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", _MEMORY,
        "-object", f"memory-backend-memfd,id=memory,size={_MEMORY},share=on",
        "-numa", "node,memdev=memory",
        "-chardev", f"socket,id=root,path={socket}",
        "-device", "vhost-user-fs-pci,chardev=root,tag=root",
        "-kernel", str(kernel.image), "-initrd", str(initramfs),
        "-append", "console=ttyS0 panic=-1 rdinit=/init",
        "-nographic", "-no-reboot", "-nic", "none",
    ]
    # fmt: on
    status = None
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=-1, stderr=-2) as machine:
        assert machine.stdout is not None
        for line in machine.stdout:
            text = line.decode(errors="replace").rstrip()
            if text.startswith(MARK):
                status = int(text.split()[1])
            else:
                heard(text)
    if status is None:
        raise KernelError(f"{kernel.release} ended without a result")
    return status
