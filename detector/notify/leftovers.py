"""What processes that were killed have left of charts in the folder for temporary files."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

PREFIX = "detector-chart-"
"""How the names of all such files and folders begin."""
# No message takes so long to be sent.
_OLD_SECONDS = 3600.0


@cache
def clear_once() -> None:
    """Removes them, once in a process: what is old, and of this user. What cannot be removed stays."""
    clear(time.time())


def clear(now: float) -> None:
    """Removes what is old at a moment, in seconds since 1970."""
    with suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        for each in entries:
            if each.name.startswith(PREFIX):
                with suppress(OSError):
                    _remove(each, now)


def _remove(entry: os.DirEntry[str], now: float) -> None:
    # Others may write into that folder: what is theirs is let alone, and no link is followed.
    found = entry.stat(follow_symlinks=False)
    if found.st_uid != os.geteuid() or now - found.st_mtime < _OLD_SECONDS:
        return
    if stat.S_ISDIR(found.st_mode):
        shutil.rmtree(entry.path)
    elif stat.S_ISREG(found.st_mode):
        Path(entry.path).unlink()
