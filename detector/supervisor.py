"""Starts the roles as processes of their own, watches them, and restarts what dies."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from threading import Event, Thread
from typing import TYPE_CHECKING

from detector import readiness
from detector.errors import DetectorError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

    from detector.account import Account

_FIRST_WAIT_SECONDS = 1.0
_LONGEST_WAIT_SECONDS = 60.0
# A role that ran this long had what it needs to start: its next death starts with the first wait again.
_STARTED_AFTER_SECONDS = 10.0
_STOP_SECONDS = 5.0
_WATCH_SECONDS = 0.1
# sysexits(3): a restart mends neither input, nor a missing service, nor a bad configuration.
_HOPELESS = frozenset({os.EX_DATAERR, os.EX_UNAVAILABLE, os.EX_CONFIG})
READER_GONE = 128 + signal.SIGPIPE
"""Exit code of a role whose output nobody reads any more: the wish of whoever closed it, and the end."""

ENDING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
"""Signals that end a role; SIGHUP: the terminal is gone."""
# -P: without it `-m` looks for modules in the current folder first, which may be anybody's.
PYTHON = (sys.executable, "-P")
"""How a process of our own is started."""

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class RoleEndedError(DetectorError):
    """A role ended with a fault that a restart cannot mend; it has said itself what is wrong."""

    def __init__(self, role: str, code: int) -> None:
        super().__init__(f"{role} failed, and starting it again would not help", hint="see above")
        self.exit_code = code


class Stop(Event):
    """Set by the first signal of ENDING."""

    asked = False
    """The same without a moment's delay: for who has blocked the signals, and will not see the event being set."""


def catch_signals() -> Stop:
    """What the signals of ENDING set, those included that waited for it."""
    stop = Stop()

    def end(_number: int, _frame: FrameType | None) -> None:
        # One is enough: a second one could find the event's lock held by the first, in this very thread. It is not
        # ignored by the system's means: Python complains of a signal that waits while its handler is taken away.
        if stop.asked:
            return
        stop.asked = True
        # For the same reason another thread sets it: this one may be about to wait, and hold the lock.
        Thread(target=stop.set, daemon=True).start()

    for number in ENDING:
        signal.signal(number, end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
    return stop


def end_with_parent(parent: int) -> None:
    """Has the kernel end this process when the process `parent`, which started it, ends in whatever way."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    # It may have ended before this was said.
    if os.getppid() != parent:
        raise SystemExit(os.EX_TEMPFAIL)


@dataclass
class _Role:
    name: str
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    wait_seconds: float = _FIRST_WAIT_SECONDS
    start_at: float = 0.0
    has_started: bool = False


def call(verb: Sequence[str], arguments: Sequence[str], account: Account | None = None) -> int:
    """Runs `detector [arguments] VERB` to its end, and returns its exit code; when it fails it has said why.

    `account`: whom root runs it as.
    """
    command = _command(arguments, verb)
    if account is None:
        code = subprocess.call(command)  # noqa: S603  ourselves
    else:
        code = subprocess.call(  # noqa: S603  ourselves
            command, user=account.uid, group=account.gid, extra_groups=account.groups
        )
    return _as_shells_count(code)


def _as_shells_count(code: int) -> int:
    """An exit code as others see it: of a process that was killed it is 128 and the number of the signal."""
    return 128 - code if code < 0 else code


def supervise(
    roles: Sequence[str],
    arguments: Sequence[str],
    options: Sequence[str],
    stop: Event,
    say: Callable[[str], None],
) -> int:
    """Runs `detector [arguments] ROLE [options]` for each role until `stop`, then ends them all.

    Returns the first exit code that was not 0 when they were told to end; each role has said why.

    Raises:
        RoleEndedError: a role ended with a fault that a restart cannot mend.
    """
    running = [_Role(name) for name in roles]
    codes: list[int] = []
    watchdog: readiness.Watchdog | None = None
    try:
        while not stop.is_set():
            for role in running:
                _watch(role, arguments, options, say)
            watchdog = watchdog or readiness.begun()
            watchdog.wait(stop, _WATCH_SECONDS)
    finally:
        readiness.stopping()
        codes = _end(running, say)
    return next((code for code in codes if code), 0)


def _command(arguments: Sequence[str], verb: Sequence[str]) -> list[str]:
    return [*PYTHON, "-m", "detector", *arguments, *verb]


def _watch(role: _Role, arguments: Sequence[str], options: Sequence[str], say: Callable[[str], None]) -> None:
    now = time.monotonic()
    if role.process is None:
        if now >= role.start_at:
            command = _command(arguments, (role.name, "--parent", str(os.getpid()), *options))
            # Whatever comes while the role has no handler yet waits for `catch_signals` there.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
            # Whoever manages the service manages this process, which stands for both.
            environment = {name: value for name, value in os.environ.items() if name != readiness.SOCKET}
            role.process, role.started = subprocess.Popen(command, env=environment), now  # noqa: S603  ourselves
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    code = role.process.poll()
    if code is None:
        return
    role.process = None
    if now - role.started > _STARTED_AFTER_SECONDS:
        role.has_started = True
        role.wait_seconds = _FIRST_WAIT_SECONDS
    # What was right when it was started and is wrong now (a rule, a secret's file) is put right again: the other role
    # goes on meanwhile.
    if code == READER_GONE or (code in _HOPELESS and not role.has_started):
        raise RoleEndedError(role.name, code)
    how = f"was ended by signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"ended with exit code {code}"
    say(f"{role.name} {how}; starting it again in {role.wait_seconds:.0f} s")
    role.start_at = now + role.wait_seconds
    role.wait_seconds = min(2 * role.wait_seconds, _LONGEST_WAIT_SECONDS)


def _end(roles: Sequence[_Role], say: Callable[[str], None]) -> list[int]:
    processes = {role.name: role.process for role in roles if role.process is not None}
    for process in processes.values():
        process.terminate()
    deadline = time.monotonic() + _STOP_SECONDS
    for name, process in processes.items():
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            say(f"{name} did not end in {_STOP_SECONDS:.0f} s and is killed; the store holds whole snapshots only")
            process.kill()
            process.wait()
    # The signal may come twice, from the terminal and from here. Python gives up its handlers as it ends, when a role
    # has done all its work: the second one then ends it.
    codes = [process.returncode for process in processes.values()]
    return [0 if code == -signal.SIGTERM else _as_shells_count(code) for code in codes]
