"""What every fuzzed surface has in common: its examples, its bounds, and what counts as a finding.

A target takes bytes, and drives what a user or an attacker reaches with them. It may refuse them, by a DetectorError or
by an exit code with a message. Whatever else it raises is a finding; so is taking more time or memory than the bounds.
"""

from __future__ import annotations

import io
import os
import resource
import signal
import time
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from detector.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

SECONDS = 1.0
"""Of processor time, which one input may take."""
MEMORY_BYTES = 200_000_000
"""That one input may add to what the process holds."""
# Of addresses, which threads take much of without touching it.
_SPACE_BYTES = 4_000_000_000
_CODES = frozenset((0, 1, 2, *range(os.EX_USAGE, os.EX_CONFIG + 1)))


@dataclass(frozen=True)
class Surface:
    """Something that takes what others have written."""

    name: str
    open: Callable[[Path], Callable[[bytes], None]]
    """Prepares a folder of its own, and gives the target."""
    seeds: Callable[[], Sequence[bytes]]
    """Valid examples, to be mutated."""
    tokens: tuple[bytes, ...] = ()
    """What means something there."""


class HangError(BaseException):
    """An input took too long. No Exception, so that nothing on the way handles it."""


class FindingError(AssertionError):
    """The product did what it must not."""


@contextmanager
def bounded(*, scale: float = 1.0) -> Iterator[None]:
    """Ends what takes more time or memory than it may.

    Args:
        scale: how much slower the code is than it would be, where something watches each line of it.

    Raises:
        HangError: too much processor time.
        FindingError: too much memory.
    """

    def ended(_: int, frame: FrameType | None) -> None:
        raise HangError(f"more than {SECONDS * scale:g} s of processor time, in {frame}")

    before = signal.signal(signal.SIGVTALRM, ended)
    space = resource.getrlimit(resource.RLIMIT_AS)
    held, used = _status("VmRSS"), time.thread_time()
    resource.setrlimit(resource.RLIMIT_AS, (_status("VmSize") + _SPACE_BYTES, space[1]))
    _forget_peak()
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS * scale)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, space)
    # What is in a library's hands is not interrupted.
    if (took := time.thread_time() - used) > SECONDS * scale:
        raise HangError(f"{took:.1f} s of processor time")
    if (grown := _status("VmHWM") - held) > MEMORY_BYTES:
        raise FindingError(f"{grown / 1e6:.0f} MB more memory")


def _status(name: str) -> int:
    """Bytes, of what the kernel says of this process."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(name)


def _forget_peak() -> None:
    """The most memory that the process held is counted from now on."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def call(*arguments: str | Path) -> tuple[int, str, str]:
    """Runs `detector` in this process; its exit code, and what it wrote to both streams. Checks all three.

    Raises:
        FindingError: an exit code that is none of ours, a fault without a message, or raw control characters.
    """
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace", write_through=True) for _ in range(2))
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = main([str(each) for each in arguments])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
    said, complained = (stream.buffer.getvalue().decode() for stream in (out, err))
    if code not in _CODES:
        raise FindingError(f"exit code {code}")
    if code not in {0, 1} and not complained:
        raise FindingError(f"exit code {code} without a word")
    check_harmless(said + complained)
    return code, said, complained


def check_harmless(text: str) -> None:
    """Refuses text that does more to a terminal than to be read.

    Raises:
        FindingError: it does.
    """
    # As CSV ends its lines.
    for line in text.replace("\r\n", "\n").split("\n"):
        if not line.isprintable():
            raise FindingError(f"does not print: {line!r}")
        if "Traceback (most recent call last)" in line:
            raise FindingError("a traceback")
