"""Work that is spread over processors: each piece in a process of its own, forked, so that it has all of memory.

A piece gives bytes, which come back through a pipe. Whoever ends the parent, by Ctrl-C too, ends them all.
"""

from __future__ import annotations

import ctypes
import os
import selectors
import signal
import traceback
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from detector.errors import DetectorError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CHUNK = 1 << 20
# linux/prctl.h
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)

_Handler = Any
"""What `signal.signal` takes and gives."""


@dataclass(slots=True)
class _Running:
    """A piece under way."""

    process: int
    done: Callable[[bytes], None]
    content: bytearray = field(default_factory=bytearray)


class Crew:
    """Does pieces of work, so many at a time."""

    def __init__(self, jobs: int) -> None:
        """With one job all is done in this process."""
        self._jobs = jobs
        self._waiting: deque[tuple[Callable[[], bytes], Callable[[bytes], None]]] = deque()

    def add(self, work: Callable[[], bytes], done: Callable[[bytes], None]) -> None:
        """Something to be done; `done` is called in this process with what came of it, and may add more."""
        self._waiting.append((work, done))

    def run(self) -> None:
        """Returns when nothing is left to be done.

        Raises:
            DetectorError: a piece ended without a result; why is on standard error.
        """
        if self._jobs == 1:
            while self._waiting:
                work, done = self._waiting.popleft()
                done(work())
            return
        running: dict[int, _Running] = {}
        try:
            with selectors.DefaultSelector() as selector:
                while self._waiting or running:
                    while self._waiting and len(running) < self._jobs:
                        work, done = self._waiting.popleft()
                        # What comes while Python forks is passed over; and before it is known whom to end.
                        with _uninterrupted() as before:
                            reader, process = _forked(work, before)
                            running[reader] = _Running(process, done)
                            selector.register(reader, selectors.EVENT_READ)
                    for key, _ in selector.select():
                        if chunk := os.read(key.fd, _CHUNK):
                            running[key.fd].content += chunk
                        else:
                            selector.unregister(key.fd)
                            _finish(key.fd, running.pop(key.fd))
        finally:
            for reader, each in running.items():
                os.kill(each.process, signal.SIGKILL)
                os.waitpid(each.process, 0)
                os.close(reader)


@contextmanager
def _uninterrupted() -> Iterator[_Handler]:
    """Ctrl-C waits until this ends; gives what handled it before.

    To block the signal would not do: it comes to any thread, those of numerical libraries too, and is handled in this.
    """
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield before
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        signal.raise_signal(signal.SIGINT)


def _finish(reader: int, ended: _Running) -> None:
    os.close(reader)
    _, status = os.waitpid(ended.process, 0)
    if status:
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            raise DetectorError(
                "a process was killed, probably since memory ran out", hint="use fewer at a time: --jobs 1"
            )
        raise DetectorError("a process ended without a result", hint="see what it said before")
    ended.done(bytes(ended.content))


def _forked(work: Callable[[], bytes], on_interrupt: _Handler) -> tuple[int, int]:
    """The end of a pipe that gives what comes of it, and the process, in which `on_interrupt` handles Ctrl-C."""
    reader, writer = os.pipe()
    process = os.fork()
    if process:
        os.close(writer)
        return reader, process
    code = 1
    try:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        signal.signal(signal.SIGINT, on_interrupt)
        os.close(reader)
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(work())
        code = 0
    except KeyboardInterrupt:
        # The parent was told as well, and says so.
        pass
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        # Without what the parent would do at its end: its files and databases are still its own.
        os._exit(code)
    raise AssertionError
