"""A real Postgres server that may be mistreated."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

_START_SECONDS = 20


class Postgres:
    """A server of this test's own, which may be mistreated."""

    def __init__(self, disk: Path | None = None) -> None:
        """Makes what it needs in a folder on `disk`; None: wherever there is room."""
        self._programs = max(Path("/usr/lib/postgresql").glob("*/bin/initdb")).parent
        self._folder = Path(tempfile.mkdtemp(prefix="detector-postgres-", dir=disk))
        self._as_server: list[str | Path] = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if self._as_server:
            shutil.chown(self._folder, "postgres", "postgres")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self._data = self._folder / "data"
        self._options = f"-c listen_addresses=127.0.0.1 -p {port} -c unix_socket_directories={self._folder}"
        # Small files of its log, for small disks.
        small = ["--wal-segsize=1"] if disk else []
        options = ("-A", "trust", "-U", "tests", "--no-sync", *small)
        self._call(self._programs / "initdb", "-D", self._data, *options)
        self.url = f"postgresql://tests@127.0.0.1:{port}/postgres"

    def _call(self, *command: str | Path) -> None:
        subprocess.run([*self._as_server, *command], check=True, capture_output=True, cwd="/")

    def _control(self, *arguments: str | Path) -> None:
        self._call(self._programs / "pg_ctl", "-D", self._data, "-w", "-l", self._folder / "log", *arguments)

    def start(self) -> None:
        """Until it answers. Processes of one that was killed may hold its memory for a moment."""
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                self._control("-o", self._options, "start")
            except subprocess.CalledProcessError:
                assert time.monotonic() < deadline
            else:
                return

    def stop(self) -> None:
        """In order, without waiting for those who are connected."""
        self._control("-m", "fast", "stop")

    def is_running(self) -> bool:
        """Whether there is a server, as far as its folder tells."""
        try:
            self._control("status")
        except subprocess.CalledProcessError:
            return False
        return True

    def processes(self) -> list[int]:
        """The server and its processes."""
        server = int((self._data / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{server}/task/{server}/children").read_text().split()
        return [server, *map(int, children)]

    def signal(self, number: signal.Signals) -> None:
        """To all of them."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def remove(self) -> None:
        """Ends it, and removes what it wrote."""
        with suppress(subprocess.CalledProcessError, FileNotFoundError, ProcessLookupError):
            self.signal(signal.SIGCONT)
            self._control("-m", "immediate", "stop")
        shutil.rmtree(self._folder)
