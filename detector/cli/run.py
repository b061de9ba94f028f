"""`detector run`, `collect` and `detect`: the long-running roles."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from detector.cli import terminal
from detector.visible import visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from detector.config import Settings
    from detector.domain import Learning, Snapshot, SnapshotRef
    from detector.pipeline import Detected

# How often a host that is being learnt is mentioned.
_LEARNING_EVERY = timedelta(minutes=10)

_parent = click.option(
    "--parent", type=int, hidden=True, help="End when this process, which must be the parent, ends: for `run`."
)


@click.command()
@click.pass_context
def run(ctx: click.Context) -> None:
    """Capture and detect: both roles, in the foreground.

    Starts `collect` and `detect` as processes of their own, restarts what dies, and ends both on Ctrl-C. Prints a
    line for each snapshot and a block for each alert. An SQLite database is made, or brought to the current schema,
    first; a Postgres database has to be prepared with `detector db upgrade`.

    \b
    Examples:
      detector run
      detector --config ./detector.toml run
    """
    from detector import supervisor
    from detector.bpf import preflight

    settings: Settings = ctx.obj
    preflight.require()
    stop = supervisor.catch_signals()
    config_file = ctx.find_root().params["config_file"]
    arguments = ["--config", str(config_file)] if config_file else []
    # In a process of its own: this one lives as long as the service, and need not hold a database library.
    upgrade = settings.database_url.startswith("sqlite")
    if upgrade and (code := supervisor.call(("db", "upgrade"), arguments)):
        ctx.exit(code)
    click.echo(f"watching the connects of {visible(settings.host_name)}; Ctrl-C ends")
    code = supervisor.supervise(("collect", "detect"), arguments, stop, terminal.note)
    click.echo("ended")
    ctx.exit(code)


@click.command()
@_parent
@click.pass_context
def collect(ctx: click.Context, parent: int | None) -> None:
    """Count connects in the kernel and store snapshots of them.

    Needs root, or CAP_BPF, CAP_PERFMON and CAP_DAC_READ_SEARCH. SIGTERM or Ctrl-C ends it with a last snapshot.

    \b
    Examples:
      detector collect
      DETECTOR_COLLECTOR_INTERVAL_SECONDS=1 detector collect
    """
    from detector import service, supervisor

    stop = supervisor.catch_signals()
    if parent:
        supervisor.end_with_parent(parent)
    with _ending_when_nobody_reads(ctx):
        service.collect(ctx.obj, stop, LineReporter())


@click.command()
@_parent
@click.pass_context
def detect(ctx: click.Context, parent: int | None) -> None:
    """Score stored snapshots, apply the rules, send the alerts.

    Needs no privileges: it reads and writes the database and reads the rules. After a stop it goes on with the first
    snapshot that it has not seen. Any number may work on one Postgres database.

    \b
    Examples:
      detector detect
      DETECTOR_NOTIFY_CONSOLE=false detector detect
    """
    from detector import service, supervisor

    stop = supervisor.catch_signals()
    if parent:
        supervisor.end_with_parent(parent)
    with _ending_when_nobody_reads(ctx):
        service.detect(ctx.obj, stop, LineReporter())


@contextmanager
def _ending_when_nobody_reads(ctx: click.Context) -> Iterator[None]:
    """Whoever closed the output (`| head`) has seen enough: a restart would only end in the same way."""
    from detector.supervisor import READER_GONE

    try:
        yield
    except BrokenPipeError:
        # Python would complain when it flushes what is left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        ctx.exit(READER_GONE)


class LineReporter:
    """Says what a role does, a line at a time: snapshots on standard output, faults on standard error."""

    def __init__(self) -> None:
        self._mentioned: dict[int, datetime] = {}
        self._unwritable = False

    def snapshot(self, ref: SnapshotRef, snapshot: Snapshot) -> None:
        """One line: how much was seen, and what was lost."""
        self._say(snapshot_line(ref, snapshot))

    def detected(self, detected: Detected) -> None:
        """A line while the host is being learnt, now and then, and one when it is learnt."""
        host_id, end = detected.snapshot.host_id, detected.snapshot.end
        before = self._mentioned.get(host_id)
        if detected.learning.finished:
            if before is not None:
                self._say(f"{visible(detected.snapshot.host)} is learnt: connects are scored from now on")
                del self._mentioned[host_id]
            return
        if before is None or end - before >= _LEARNING_EVERY:
            self._mentioned[host_id] = end
            self._say(f"{visible(detected.snapshot.host)}: {learning_text(detected.learning)}")

    def _say(self, line: str) -> None:
        try:
            click.echo(line)
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
        with suppress(OSError):
            terminal.note(f"{datetime.now(UTC).astimezone():%H:%M:%S}  {message}")


def snapshot_line(ref: SnapshotRef, snapshot: Snapshot) -> str:
    """`12:00:10  snapshot 42  312 connects (309 refused) to 1 destination by 1 executable`, and losses if any."""
    outcomes = {
        name.replace("_", " "): total
        for name in ("established", "refused", "timed_out", "failed")
        if (total := sum(getattr(count, name) for count in snapshot.counts))
    }
    attempted = sum(count.attempted for count in snapshot.counts)
    parts = [
        f"{ref.end.astimezone():%H:%M:%S}",
        f"snapshot {ref.seq}",
        numbered(attempted, "connect") + (f" ({_listed(outcomes)})" if outcomes else ""),
    ]
    if snapshot.counts:
        destinations = len({count.key.remote_address for count in snapshot.counts})
        executables = len({count.key.executable for count in snapshot.counts} - {None})
        parts.append(f"{numbered(destinations, 'address', 'es')}, {numbered(executables, 'executable')}")
    if not snapshot.losses.complete:
        parts.append(f"LOST: {_listed({name.replace('_', ' '): n for name, n in snapshot.losses.nonzero().items()})}")
    return "  ".join(parts)


def learning_text(learning: Learning) -> str:
    """`learning: 2 h 10 min of 24 h`: no scores are given before that."""
    elapsed = _hours(learning.elapsed_seconds)
    return f"learning: {elapsed} of {_hours(learning.required_seconds)}; until then connects are not scored"


def numbered(number: int, noun: str, plural: str = "s") -> str:
    """`1 connect`, `2,000 connects`."""
    return f"{number:,} {noun}{'' if number == 1 else plural}"


def _listed(numbers: dict[str, int]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in numbers.items())


def _hours(seconds: float) -> str:
    hours, minutes = divmod(int(seconds) // 60, 60)
    return " ".join(f"{number} {unit}" for number, unit in ((hours, "h"), (minutes, "min")) if number) or "0 min"
