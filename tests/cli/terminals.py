"""Runs the program on a terminal, as a person does: types, and looks at what is there."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

_PATIENCE_SECONDS = 60.0
# So often in a row a program is seen asleep that waits.
_LOOKS = 4
_CONTROL = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]|\r")


def shown_on(columns: int, *arguments: str | Path, environment: Mapping[str, str]) -> list[str]:
    """The lines that the program shows on a terminal of so many columns, before that breaks any."""
    with Terminal(*arguments, environment=environment, columns=columns) as terminal:
        code, shown = terminal.end()
    assert code == 0
    return shown.splitlines()


class Terminal:
    """The program with these arguments, on a terminal of its own; ended with the block. `under` is what runs it."""

    def __init__(
        self,
        *arguments: str | Path,
        environment: Mapping[str, str] | None = None,
        under: Sequence[str] = (),
        columns: int = 200,
    ) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        inherited = {key: value for key, value in os.environ.items() if key not in {"COLUMNS", "LINES"}}
        program = [Path(sys.executable).with_name("detector"), *arguments]
        # Its terminal is the one that Ctrl-C comes from.
        self._process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", *under, *map(str, program)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**inherited, "TERM": "xterm", **(environment or {})},
        )
        os.close(slave)
        self._seen = b""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)

    def expect(self, text: str) -> str:
        """Waits until a text appears; gives all that came up to it since the last time."""
        wanted = text.encode()
        until = time.monotonic() + _PATIENCE_SECONDS
        while wanted not in self._seen:
            assert self._read(until), f"{text!r} did not come; there is: {self._seen.decode(errors='replace')}"
        before, self._seen = self._seen.split(wanted, 1)
        return (before + wanted).decode()

    def type(self, text: str) -> None:
        """Types a line."""
        os.write(self._master, text.encode() + b"\n")

    def press(self, key: bytes) -> None:
        """Presses a key: b"\\x03" is Ctrl-C."""
        os.write(self._master, key)

    def until_asked(self) -> None:
        """Waits until the program waits: between writing a question and reading the answer, it would not see a signal
        before the next key."""
        until = time.monotonic() + _PATIENCE_SECONDS
        asleep = 0
        while asleep < _LOOKS and time.monotonic() < until:
            state = Path(f"/proc/{os.tcgetpgrp(self._master)}/stat").read_text(errors="replace").rpartition(")")[2]
            asleep = asleep + 1 if state.split()[0] == "S" else 0
            time.sleep(0.05)

    def end(self) -> tuple[int, str]:
        """Waits for the end; gives the exit code and the rest of what came."""
        until = time.monotonic() + _PATIENCE_SECONDS
        while self._read(until):
            pass
        return self._process.wait(_PATIENCE_SECONDS), self._seen.decode()

    def _read(self, until: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(0.0, until - time.monotonic()))
        assert ready, f"nothing came; there is: {self._seen.decode(errors='replace')}"
        try:
            read = os.read(self._master, 65_536)
        except OSError:
            # EIO: the other end was closed.
            return False
        self._seen += _CONTROL.sub(b"", read)
        return bool(read)
