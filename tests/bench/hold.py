# SPDX-License-Identifier: MIT
"""
Clients that have had an answer and keep their connections.  Run on a lab's client; ends when its
standard input does.

Arguments: COUNT, then ADDRESS PORT PATH for each target, which are asked in turn.
"""

from __future__ import annotations

import asyncio
import resource
import sys

_AT_ONCE = 64
_PATIENCE = 60.0


async def _one(gate: asyncio.Semaphore, address: str, port: str, path: str) -> object:
    async with gate, asyncio.timeout(_PATIENCE):
        reader, writer = await asyncio.open_connection(address, int(port))
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
        await reader.readexactly(int(length))
        return writer


async def _all(count: int, words: list[str]) -> None:
    gate = asyncio.Semaphore(_AT_ONCE)
    targets = [words[first : first + 3] for first in range(0, len(words), 3)]
    asking = (_one(gate, *targets[number % len(targets)]) for number in range(count))
    kept = await asyncio.gather(*asking)
    print("ready", len(kept), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(_all(int(sys.argv[1]), sys.argv[2:]))
