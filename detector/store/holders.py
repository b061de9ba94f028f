"""Which process holds what it works on, and whether it is still there."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

_PROC = Path("/proc")
# A service that sees nothing of /proc but processes (ProcSubset=pid) has the second alone.
_MACHINE = (_PROC / "sys/kernel/random/boot_id", Path("/etc/machine-id"))
# Behind the name of the program, which may hold blanks and parentheses; see proc(5).
_START_FIELD = 19


def this_process() -> str:
    """This process, by what no other one shares: machine and host, namespace, user, its number and when it began."""
    return _named(os.getpid())


def has_ended(holder: str) -> bool:
    """Whether the process `holder` names is known to have ended.

    Of other machines and containers it is not known, nor of other users, whose processes may not be shown.
    """
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
    # Processes of two containers have the same numbers; machines that were cloned are told apart by their names.
    namespace = (_PROC / "self/ns/pid").stat().st_ino
    return f"{_machine()}/{socket.gethostname()}/{namespace}/{os.getuid()}"


def _machine() -> str:
    """The machine's boot, or the machine; empty: neither is shown."""
    for path in _MACHINE:
        with suppress(OSError):
            return path.read_text().strip()
    return ""


def _began(number: int) -> str | None:
    """When a process began, in clock ticks since the boot; None: there is no such process."""
    try:
        return (_PROC / str(number) / "stat").read_text().rpartition(")")[2].split()[_START_FIELD]
    except (FileNotFoundError, ProcessLookupError):
        return None
