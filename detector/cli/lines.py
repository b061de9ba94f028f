"""What a long-running role says, a line at a time, without the libraries of the command line."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from detector.domain import Protocol
from detector.supervisor import READER_GONE
from detector.visible import visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from detector.domain import Snapshot, SnapshotRef

_CONNECTED = frozenset({Protocol.TCP, Protocol.SCTP})


class LineReporter:
    """Says what a role does on standard output, and what is wrong on standard error."""

    def __init__(self) -> None:
        self._unwritable = False

    def say(self, line: str) -> None:
        """One line on standard output. What cannot be written is left out, and that is said once.

        Raises:
            BrokenPipeError: nobody reads it any more.
        """
        try:
            print(line, flush=True)  # noqa: T201  what the role is asked to say
        except BrokenPipeError:
            raise
        except OSError as fault:
            # A full disk under the log is no reason to stop counting.
            if not self._unwritable:
                self.fault(f"standard output: {fault.strerror}; lines are left out")
            self._unwritable = True
        else:
            self._unwritable = False

    def fault(self, message: str) -> None:
        """One line on standard error, if that can be written."""
        note(f"{datetime.now(UTC).astimezone():%H:%M:%S}  {message}")


class SnapshotReporter(LineReporter):
    """A line for each snapshot."""

    def snapshot(self, ref: SnapshotRef, snapshot: Snapshot) -> None:
        """How much was seen, and what was lost."""
        self.say(snapshot_line(ref, snapshot))


def note(text: str) -> None:
    """One line on standard error, if that can be written."""
    with suppress(OSError):
        print(visible(text), file=sys.stderr, flush=True)  # noqa: T201  what the role is asked to say


@contextmanager
def ending_when_nobody_reads() -> Iterator[None]:
    """Whoever closed the output (`| head`) has seen enough: a restart would only end in the same way.

    Raises:
        SystemExit: with the exit code READER_GONE.
    """
    try:
        yield
    except BrokenPipeError:
        # Python would complain when it flushes what is left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(READER_GONE) from None


def snapshot_line(ref: SnapshotRef, snapshot: Snapshot) -> str:
    """`12:00:10  snapshot 42  312 connects (309 refused)  1 address, 1 executable`, and what is wrong."""
    connects = [count for count in snapshot.counts if count.key.protocol in _CONNECTED]
    outcomes = {
        name.replace("_", " "): total
        for name in ("established", "refused", "timed_out", "failed")
        if (total := sum(getattr(count, name) for count in connects))
    }
    attempted = numbered(sum(count.attempted for count in connects), "connect")
    parts = [
        f"{ref.end.astimezone():%H:%M:%S}",
        f"snapshot {ref.seq}",
        f"{attempted} ({_listed(outcomes)})" if outcomes else attempted,
    ]
    if len(connects) < len(snapshot.counts):
        flows = sum(count.attempted for count in snapshot.counts if count.key.protocol not in _CONNECTED)
        parts.append(numbered(flows, "flow"))
    if snapshot.counts:
        destinations = len({count.key.remote_address for count in snapshot.counts} - {None})
        executables = len({count.key.executable for count in snapshot.counts} - {None})
        parts.append(f"{numbered(destinations, 'address', 'es')}, {numbered(executables, 'executable')}")
    return "  ".join((*parts, *_wrong_with(snapshot)))


def _wrong_with(snapshot: Snapshot) -> Iterator[str]:
    lost = snapshot.losses.nonzero()
    folded = lost.pop("folded", 0)
    if lost:
        yield f"LOST: {_listed({name.replace('_', ' '): number for name, number in lost.items()})}"
    if folded:
        yield f"FOLDED: {folded:,} without destination, since there were too many"
    health = snapshot.health
    if health.blind_since is not None:
        yield f"BLIND since {health.blind_since.astimezone():%H:%M:%S}"
    if health.late_seconds:
        yield f"LATE by {health.late_seconds:.0f} s"
    if health.clock_step_seconds:
        yield f"CLOCK SET by {health.clock_step_seconds:+.0f} s"
    if health.suspended_seconds:
        yield f"suspended for {health.suspended_seconds:.0f} s"


def numbered(number: int, noun: str, plural: str = "s") -> str:
    """`1 connect`, `2,000 connects`."""
    return f"{number:,} {noun}{'' if number == 1 else plural}"


def _listed(numbers: dict[str, int]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in numbers.items())
