# SPDX-License-Identifier: MIT
"""
Packets of one device of a lab, recorded by tcpdump while something happens.
"""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from btcp.lab.programs import LabError

# kibibytes; a burst of the raw datapath's packets must wait in it while tcpdump writes
_BUFFER = 65536
_PATIENCE = 5.0


@contextmanager
def capture(
    popen: Callable[[Sequence[str]], subprocess.Popen[bytes]],
    path: Path,
    filter: str,
    device: str,
    snaplen: int,
    outgoing: bool,
) -> Iterator[Path]:
    """
    Record packets into a pcap file from before the body begins until after it has ended.

    @param popen: starts a program on the host, its standard error piped.
    @param path: ends in C{.pcap}, all that Debian's AppArmor profile lets tcpdump write.
    @param filter: as in pcap-filter(7); empty for everything.
    @param snaplen: octets to keep of each packet.
    @param outgoing: only what the host sends.
    @raise LabError: tcpdump cannot, or the kernel dropped packets it should have had.
    """
    direction = ["-Q", "out"] if outgoing else []
    options = ["-i", device, "-B", str(_BUFFER), "-s", str(snaplen), "-w", str(path), *direction]
    # -p: a device in promiscuous mode would receive what the bridge floods.
    manner = ["-Z", "root", "-n", "-p", "-U", "--immediate-mode"]
    process = popen(["tcpdump", *manner, *options, filter])
    assert process.stderr is not None
    try:
        greeting = process.stderr.readline()
        if b"listening on" not in greeting:
            raise LabError((greeting + process.stderr.read()).decode(errors="replace").strip())
        yield path
        _settle(path)
    finally:
        process.send_signal(signal.SIGINT)
        farewell = process.communicate(timeout=_PATIENCE)[1].decode()
    lost = re.search(r"^([1-9]\d*) packets dropped by kernel", farewell, re.MULTILINE)
    if lost is not None:
        raise LabError(f"the capture on {device} lost {lost[1]} packets")


def _settle(path: Path) -> None:
    """
    Wait until tcpdump has written what the kernel has given it.
    """
    deadline = time.monotonic() + _PATIENCE
    size = -1
    while size != (size := path.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.05)


def payload(path: Path, filter: str) -> int:
    """
    Octets of TCP payload in a capture, as tcpdump itself reads it.

    @param filter: which packets to count.
    """
    argv = ["tcpdump", "-n", "-q", "-r", str(path), filter]
    done = subprocess.run(argv, capture_output=True, check=True, text=True)
    return sum(map(int, re.findall(r": tcp (\d+)", done.stdout)))
