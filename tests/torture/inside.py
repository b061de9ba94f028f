"""What is done to processes from within: their wall clock is set, their kernel programs are detached. Others of the
machine notice nothing of it.
"""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_SOURCE = Path(__file__).with_suffix(".c")


class Inside:
    """Concerns processes that are started with `environment`, and what they start."""

    def __init__(self, folder: Path) -> None:
        """Makes in `folder`, which these processes must be able to read, what they need."""
        self._wanted = folder / "inside"
        self._step = self._detachments = 0
        self._wanted.write_bytes(b"")
        self._write()
        library = folder / "inside.so"
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, _SOURCE], check=True)
        self.environment: Mapping[str, str] = {"LD_PRELOAD": str(library), "INSIDE": str(self._wanted)}

    def set_clock(self, step_seconds: int) -> None:
        """So many seconds before (positive) or behind the right time; 0: right."""
        self._step = step_seconds
        self._write()

    def detach(self) -> None:
        """Whoever holds kernel programs loses them, soon and for good."""
        self._detachments += 1
        self._write()

    def _write(self) -> None:
        with self._wanted.open("r+b") as file:
            file.write(struct.pack("qq", self._step, self._detachments))
