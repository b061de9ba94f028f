"""Which process holds what it works on, and whether it is still there."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

_PROC = Path("/proc")
_BOOT = _PROC / "sys/kernel/random/boot_id"
# Behind the name of the program, which may hold blanks and parentheses; see proc(5).
_START_FIELD = 19


def this_process() -> str:
    """This process, by what no other one shares: its machine's boot, its namespace, its number and when it began."""
    return _named(os.getpid())


def has_ended(holder: str) -> bool:
    """Whether the process `holder` names is known to have ended. Of other machines and containers that is not known."""
    here, _, process = holder.rpartition("/")
    if here != _here():
        return False
    number, _, began = process.partition(":")
    return _began(int(number)) != began


@lru_cache(maxsize=1)
def _named(number: int) -> str:
    return f"{_here()}/{number}:{_began(number)}"


@lru_cache(maxsize=1)
def _here() -> str:
    # Processes of two containers have the same numbers.
    return f"{_BOOT.read_text().strip()}/{(_PROC / 'self/ns/pid').stat().st_ino}"


def _began(number: int) -> str | None:
    """When a process began, in clock ticks since the boot; None: there is no such process."""
    try:
        return (_PROC / str(number) / "stat").read_text().rpartition(")")[2].split()[_START_FIELD]
    except (FileNotFoundError, ProcessLookupError):
        return None
