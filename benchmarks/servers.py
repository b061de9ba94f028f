"""Servers of a benchmark's own, Postgres and one that takes mail, and what processes cost."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_TICKS = os.sysconf("SC_CLK_TCK")


@contextmanager
def postgres() -> Iterator[tuple[str, int]]:
    """Gives the address of an empty database on a server as Debian sets it up, and the server's process."""
    programs = max(Path("/usr/lib/postgresql").glob("*/bin/initdb")).parent
    folder = Path(tempfile.mkdtemp(prefix="detector-postgres-"))
    as_server: list[str | Path] = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if as_server:
        shutil.chown(folder, "postgres", "postgres")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data = folder / "data"
    control = [*as_server, programs / "pg_ctl", "-D", data, "-w", "-l", folder / "log"]
    options = f"-c listen_addresses=127.0.0.1 -p {port} -c unix_socket_directories={folder}"

    def call(*command: str | Path) -> None:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/")

    call(*as_server, programs / "initdb", "-D", data, "-A", "trust", "-U", "bench", "-E", "UTF8", "--no-sync")
    call(*control, "-o", options, "start")
    try:
        pid = int((data / "postmaster.pid").read_text().split()[0])
        yield f"postgresql://bench@127.0.0.1:{port}/postgres", pid
    finally:
        call(*control, "-m", "immediate", "stop")
        shutil.rmtree(folder)


async def mailbox(taken: list[bytes]) -> asyncio.Server:
    """A mail server on loopback that keeps what it takes, and does as little else as SMTP allows: what is measured is
    who sends.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mailbox ESMTP\r\n")
        while line := await reader.readline():
            match line[:4].upper():
                case b"EHLO" | b"HELO":
                    writer.write(b"250 mailbox\r\n")
                case b"DATA":
                    writer.write(b"354 go on\r\n")
                    content = await reader.readuntil(b"\r\n.\r\n")
                    taken.append(content[:-3].replace(b"\r\n..", b"\r\n."))
                    writer.write(b"250 taken\r\n")
                case b"MAIL" | b"RCPT" | b"RSET" | b"NOOP":
                    writer.write(b"250 well\r\n")
                case b"QUIT":
                    writer.write(b"221 bye\r\n")
                    break
                case _:
                    writer.write(b"502 not here\r\n")
        writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 24)


def processor_seconds(pid: int) -> float:
    """Of a process, of those that it started, and of those of them that have ended."""
    total = _seconds(pid, ended=True)
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return total
    return total + sum(_seconds(int(child), ended=False) for child in children)


def _seconds(pid: int, *, ended: bool) -> float:
    try:
        values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, values[11 : 15 if ended else 13])) / _TICKS
