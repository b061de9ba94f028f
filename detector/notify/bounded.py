"""Fills in templates that are not ours within bounds: of processor time, of memory, and of time by the clock.

No rule about what a template may hold tells one that ends from one that does not. So it is a process of its own that
fills them in, and one that takes too much is killed.
"""

from __future__ import annotations

import signal
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from detector.apart import run_apart
from detector.notify.filling import UnfillableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MEMORY_BYTES = 200_000_000
"""Of the process, Python and Jinja included, which take 30 MB."""
SECONDS = 1.0
"""Of processor time for all forms of a message, which take 10 ms; what starts the process is not in it."""
CHECK_SECONDS = 0.25
"""Of processor time for one form: a message has up to 14 of them."""
_PATIENCE_SECONDS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A template, and what it is filled in with."""

    name: str
    """The form."""
    text: str
    values: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the process is given."""

    jobs: list[Job]
    seconds: float
    memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What it writes of each job, in order, a line each; none follows a fault."""

    text: str = ""
    line: int = 0
    """Of a template that cannot be filled in; 0: it is."""
    fault: str = ""


class ExhaustedError(UnfillableError):
    """A template takes more than it may have."""


class JobError(Exception):
    """Something is wrong with one of several templates.

    Args:
        name: of the template.
        fault: what is wrong with it.
    """

    def __init__(self, name: str, fault: UnfillableError) -> None:
        super().__init__(f"{name}:{fault.line}: {fault.message}")
        self.name, self.fault = name, fault


def fill_apart(
    jobs: Sequence[tuple[str, str, Mapping[str, Any]]],
    *,
    seconds: float = SECONDS,
    patience_seconds: float = _PATIENCE_SECONDS,
) -> list[str]:
    """What templates make of values, see `filling.fill`; in about 0.15 s.

    Args:
        jobs: form, template, and values, which JSON can hold.
        seconds: the most processor time that all of them may take together.
        patience_seconds: the same by the clock, which counts what a busy machine does meanwhile.

    Raises:
        JobError: the first one that cannot be filled in, or takes more than it may have.
    """
    order = Order(
        jobs=[Job(name=name, text=text, values=dict(values)) for name, text, values in jobs],
        seconds=seconds,
        memory_bytes=MEMORY_BYTES,
    )
    try:
        written, end = _ran(msgspec.json.encode(order), seconds, patience_seconds)
    except OSError as fault:
        why = f"there is no process to fill it in: {fault.strerror}; see what the machine lacks"
        raise JobError(order.jobs[0].name, UnfillableError(1, why)) from None
    done = list(_read(written))
    for job, each in zip(order.jobs, done, strict=False):
        if each.line:
            raise JobError(job.name, UnfillableError(each.line, each.fault))
    if len(done) < len(jobs):
        raise JobError(order.jobs[len(done)].name, ExhaustedError(1, f"{end}; write it simpler, with shorter loops"))
    return [each.text for each in done]


def _ran(order: bytes, seconds: float, patience_seconds: float) -> tuple[bytes, str]:
    """What the process wrote, and how it ended where it did so early."""
    try:
        done = run_apart("detector.notify.filling_process", order, timeout_seconds=patience_seconds)
    except subprocess.TimeoutExpired as fault:
        return fault.stdout or b"", f"is not filled in within {patience_seconds:g} s"
    if done.returncode == -signal.SIGPROF:
        return done.stdout, f"takes more than {seconds:g} s of processor time"
    said = done.stderr.decode("utf-8", "backslashreplace").strip().splitlines()
    ended = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
    return done.stdout, f"ends the process that fills it in ({said[-1] if said else ended})"


def _read(written: bytes) -> Iterator[Done]:
    for line in written.splitlines(keepends=True):
        if line.endswith(b"\n"):
            yield msgspec.json.decode(line, type=Done)
