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
# As many descriptors as there is room for.
_MOST = 64


class Inside:
    """Concerns processes that are started with `environment`, and what they start."""

    def __init__(self, folder: Path) -> None:
        """Makes in `folder`, which these processes must be able to read, what they need."""
        self._wanted = folder / "inside"
        self._step = self._turn = self._process = 0
        self._descriptors: tuple[int, ...] = ()
        self._wanted.write_bytes(b"")
        self._write()
        library = folder / "inside.so"
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, _SOURCE], check=True)
        self.environment: Mapping[str, str] = {"LD_PRELOAD": str(library), "INSIDE": str(self._wanted)}

    def set_clock(self, step_seconds: int) -> None:
        """So many seconds before (positive) or behind the right time; 0: right."""
        self._step = step_seconds
        self._write()

    def detach(self, process: int) -> None:
        """Soon the process has no kernel program attached any more."""
        attached = [
            int(path.name)
            for path in Path(f"/proc/{process}/fd").iterdir()
            if path.readlink().name in {"anon_inode:bpf_link", "anon_inode:[perf_event]"}
        ]
        self._process, self._descriptors = process, tuple(attached[:_MOST])
        self._turn += 1
        self._write()

    def _write(self) -> None:
        descriptors = (*self._descriptors, *[0] * (_MOST - len(self._descriptors)))
        given = struct.pack(
            f"{4 + _MOST}q", self._step, self._turn, self._process, len(self._descriptors), *descriptors
        )
        with self._wanted.open("r+b") as file:
            file.write(given)
