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
from detector.account import close_to_others
from detector.cli.lines import SnapshotReporter, ending_when_nobody_reads
from detector.errors import DetectorError
from detector.log import Format, Level, Log

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from threading import Event

    from detector.config_log import Log as LogSettings
    from detector.supervisor import Stop

# The standard library's modules that bring OpenSSL in, 5 MB. SQLAlchemy imports them by way of asyncio and hashlib,
# which do without; no role that runs here makes use of either.
_OPENSSL = ("ssl", "_hashlib")
# Python's own allocator returns memory a megabyte at a time, and only when nothing in it is in use: after a snapshot of
# 10,000s of keys much would never be returned. The C library's takes 1 MB more, and returns pages.
# One arena: of each thread's own some would stay full for another one's sake.
ENVIRONMENT = {"PYTHONMALLOC": "malloc", "MALLOC_ARENA_MAX": "1"}
"""Of the processes of roles."""
# The settings' own: what says how a role is to speak before it has read anything else.
_FORMAT, _LEVEL = "DETECTOR_LOG_FORMAT", "DETECTOR_LOG_LEVEL"


def become(role: str, wanted: Mapping[str, Any], stop: Stop) -> None:
    """Replaces this process by the role. `wanted` goes there as JSON, where no one else sees it.

    Signals that would end the process wait until the role can heed them. Returns when one came before.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, supervisor.ENDING)
    if stop.asked:
        return
    close_to_others()
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
    log = Log(role, Format(os.environ.get(_FORMAT, Format.AUTO)), Level(os.environ.get(_LEVEL, Level.AUTO)))
    with open(int(reader), encoding="utf-8") as pipe:  # noqa: PTH123  a descriptor
        wanted = json.load(pipe)
    try:
        with ending_when_nobody_reads():
            return _ROLES[role](stop, log, **wanted)
    except DetectorError as fault:
        complain(log, fault)
        return fault.exit_code


def hand_on(settings: LogSettings) -> None:
    """Has the roles that this process starts, or becomes, speak as configured."""
    os.environ.update({_FORMAT: settings.format.value, _LEVEL: settings.level.value})


def complain(log: Log, fault: DetectorError) -> None:
    """Says what a role ends with."""
    if log.format is not Format.TEXT:
        log.say(Level.ERROR, "ended", fault.message, hint=fault.hint or None, exit_code=fault.exit_code)
        return
    # Here, since it brings the library of the command line with it: this is the end.
    from detector.cli import terminal

    terminal.complain(fault)


def _run(stop: Event, log: Log, arguments: list[str], options: list[str]) -> int:
    code = supervisor.supervise(
        ("collect", "detect"), arguments, options, stop, lambda message: log.say(Level.WARNING, "role", message)
    )
    log.say(Level.INFO, "ended", "ended")
    return code


def _collect(stop: Event, log: Log, wanted: dict[str, Any]) -> int:
    if wanted["parent"]:
        supervisor.end_with_parent(wanted["parent"])
    _import_without_openssl()
    from detector.service.collecting import Collecting, collect

    collect(Collecting(**wanted), stop, SnapshotReporter(log))
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
