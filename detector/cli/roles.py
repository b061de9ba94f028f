"""The processes that live as long as the service: `python -m detector.cli.roles ROLE`, for `become` alone.

A verb reads the configuration, checks the machine, and is then replaced by one of these, in the same process, so that
nothing of the command line is held for months.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from importlib import import_module
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any

from detector import supervisor
from detector.cli.lines import LineReporter, SnapshotReporter, ending_when_nobody_reads, note
from detector.errors import DetectorError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from threading import Event

    from detector.supervisor import Stop

# The standard library's modules that bring OpenSSL in, 5 MB. SQLAlchemy imports them by way of asyncio and hashlib,
# which do without; no role that runs here makes use of either.
_OPENSSL = ("ssl", "_hashlib")
# Python's own allocator returns memory a megabyte at a time, and only when nothing in it is in use: after a snapshot of
# 10,000s of keys much would never be returned. The C library's takes 1 MB more, and returns pages.
# One arena: of each thread's own some would stay full for another one's sake.
ENVIRONMENT = {"PYTHONMALLOC": "malloc", "MALLOC_ARENA_MAX": "1"}
"""Of the processes of roles."""


def become(role: str, wanted: Mapping[str, Any], stop: Stop) -> None:
    """Replaces this process by the role. `wanted` goes there as JSON, where no one else sees it.

    Signals that would end the process wait until the role can heed them. Returns when one came before.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, supervisor.ENDING)
    if stop.asked:
        return
    reader, writer = os.pipe()
    with open(writer, "w", encoding="utf-8") as pipe:  # noqa: PTH123  a descriptor
        json.dump(wanted, pipe)
    os.set_inheritable(reader, True)
    command = [*supervisor.PYTHON, "-m", "detector.cli.roles", role, str(reader)]
    os.execve(sys.executable, command, os.environ | ENVIRONMENT)  # noqa: S606  ourselves


def main() -> int:
    """Runs the role named on the command line, and returns its exit code. Faults become text here."""
    stop = supervisor.catch_signals()
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    role, reader = sys.argv[1:]
    with open(int(reader), encoding="utf-8") as pipe:  # noqa: PTH123  a descriptor
        wanted = json.load(pipe)
    try:
        with ending_when_nobody_reads():
            return _ROLES[role](stop, **wanted)
    except DetectorError as fault:
        # Here, since it brings the library of the command line with it: this is the end.
        from detector.cli import terminal

        terminal.complain(fault)
        return fault.exit_code


def _run(stop: Event, arguments: list[str], options: list[str]) -> int:
    code = supervisor.supervise(("collect", "detect"), arguments, options, stop, note)
    LineReporter().say("ended")
    return code


def _collect(stop: Event, wanted: dict[str, Any]) -> int:
    if wanted["parent"]:
        supervisor.end_with_parent(wanted["parent"])
    _import_without_openssl()
    from detector.service.collecting import Collecting, collect

    collect(Collecting(**wanted), stop, SnapshotReporter())
    return 0


def _import_without_openssl() -> None:
    # None: importing it fails.
    sys.modules.update(dict.fromkeys(_OPENSSL))  # type: ignore[arg-type]
    for name in ("asyncio", "hashlib"):
        import_module(name)
    for name in _OPENSSL:
        del sys.modules[name]


_ROLES: dict[str, Callable[..., int]] = {"run": _run, "collect": _collect}

if __name__ == "__main__":
    sys.exit(main())
