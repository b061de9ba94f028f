"""What a long-running role says, a line at a time, without the libraries of the command line."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from detector.amounts import numbered
from detector.domain import Protocol
from detector.log import Level
from detector.supervisor import READER_GONE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from detector.domain import Snapshot, SnapshotRef
    from detector.log import Log

_CONNECTED = frozenset({Protocol.TCP, Protocol.SCTP})


class LineReporter:
    """Says what a role does, and what is wrong."""

    def __init__(self, log: Log) -> None:
        self.log = log

    def fault(self, message: str) -> None:
        """Something is wrong, or right again."""
        self.log.say(Level.WARNING, "fault", message)


class SnapshotReporter(LineReporter):
    """A line for each snapshot; it matters if something is wrong with it."""

    def snapshot(self, ref: SnapshotRef, snapshot: Snapshot) -> None:
        """How much was seen, and what was lost.

        Raises:
            BrokenPipeError: nobody reads the standard output any more.
        """
        line, health = snapshot_line(ref, snapshot), snapshot.health
        self.log.say(
            Level.WARNING if any(_wrong_with(snapshot)) else Level.DEBUG,
            "snapshot",
            line.partition("  ")[2],
            line,
            host=ref.host,
            snapshot=ref.seq,
            start=ref.start,
            end=ref.end,
            rows=len(snapshot.counts),
            attempted=sum(count.attempted for count in snapshot.counts),
            lost=snapshot.losses.nonzero() or None,
            blind_since=health.blind_since,
            late_seconds=health.late_seconds or None,
            clock_step_seconds=health.clock_step_seconds or None,
            suspended_seconds=health.suspended_seconds or None,
        )


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
        parts.append(f"{numbered(destinations, 'address', 'addresses')}, {numbered(executables, 'executable')}")
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


def _listed(numbers: dict[str, int]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in numbers.items())
