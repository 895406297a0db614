# SPDX-License-Identifier: MIT
"""
Clients that keep their connections, and downloads, until a line comes in on standard input.

C{traffic.py ADDRESS PATH DOWNLOAD CLIENTS DOWNLOADS} prints "running" when every client has had an
answer and every download has begun; and in the end how many answers there were and how many
connections broke.  A connection that breaks is made anew, as a browser would.  It exits with
status 1 if the last request of a client is not answered, or if a connection hangs.
"""

from __future__ import annotations

import asyncio
import sys

HANGS = 15.0
"""Seconds without a single octet after which a connection hangs: TCP's own retransmissions, of a
segment that was lost twice or thrice, come well before."""

_SLOW = 0.05


class Counts:
    answers = broken = wrong = 0
    finished = False


async def ask(address: str, path: str, counts: Counts, pause: float) -> None:
    """
    Have one answer after the other on one connection, until it breaks or all is over.
    """
    reader, writer = await asyncio.wait_for(asyncio.open_connection(address, 80), HANGS)
    try:
        while True:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), HANGS)
            if not head.startswith(b"HTTP/1.1 200"):
                counts.wrong += 1
                raise ConnectionError(head[:40])
            left = int(head.lower().partition(b"content-length:")[2].split()[0])
            while left:
                piece = await asyncio.wait_for(reader.read(min(left, 65_536)), HANGS)
                if not piece:
                    raise ConnectionError("closed in an answer")
                left -= len(piece)
                if pause:
                    await asyncio.sleep(pause)
                    if counts.finished:
                        return
            counts.answers += 1
            if counts.finished:
                return
            await asyncio.sleep(0.1)
    finally:
        writer.close()


async def keep(address: str, path: str, counts: Counts, begun: asyncio.Event, pause: float) -> None:
    """
    Begin anew whenever the connection breaks.
    """
    while True:
        task = asyncio.create_task(ask(address, path, counts, pause))
        if not begun.is_set():
            asyncio.get_running_loop().call_later(0.3, begun.set)
        try:
            await task
            return
        except (ConnectionError, asyncio.IncompleteReadError, OSError) as problem:
            if isinstance(problem, TimeoutError):
                raise
            counts.broken += 1
            await asyncio.sleep(0.1)


async def main(address: str, path: str, download: str, clients: int, downloads: int) -> None:
    counts, jobs, events = Counts(), [], []
    for which, pause, number in ((path, 0.0, clients), (download, _SLOW, downloads)):
        for _ in range(number):
            events.append(begun := asyncio.Event())
            jobs.append(asyncio.create_task(keep(address, which, counts, begun, pause)))
    for each in events:
        await each.wait()
    print("running", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    counts.finished = True
    await asyncio.gather(*jobs)
    print(counts.answers, "answers", counts.broken, "broken", counts.wrong, "wrong", flush=True)


if __name__ == "__main__":
    address, path, download, clients, downloads = sys.argv[1:]
    asyncio.run(main(address, path, download, int(clients), int(downloads)))
