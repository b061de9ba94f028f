"""Connects many times at once from one thread:  asyncio_client.py ADDRESS PORT COUNT"""

from __future__ import annotations

import asyncio
import sys


async def _connect(address: str, port: int) -> None:
    _, writer = await asyncio.open_connection(address, port)
    writer.close()


async def _connect_all(address: str, port: int, count: int) -> None:
    await asyncio.gather(*(_connect(address, port) for _ in range(count)))


if __name__ == "__main__":
    asyncio.run(_connect_all(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
