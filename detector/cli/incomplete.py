"""`detector query --incomplete`: which snapshots are not complete, and what is missing."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from detector.cli.tables import Column, local_column, print_table
from detector.cli.terminal import local, note, print_json
from detector.domain import Losses

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from detector.config import Settings
    from detector.store.health import HealthPage, SnapshotHealth

# One, and what is said of it.
_LOSSES = {
    "attempted": ("attempt", "not counted"),
    "established": ("established connect", "not counted"),
    "refused": ("refused connect", "not counted"),
    "timed_out": ("timed out connect", "not counted"),
    "failed": ("failed connect", "not counted"),
    "inbound": ("inbound connection", "not counted"),
    "pending_full": ("attempt", "with unknown end: too many at once"),
    "unmatched": ("end", "without known attempt"),
    "unnamed": ("connect", "by unknown executable"),
    "unread": ("read", "of kernel memory failed"),
    "missed": ("event", "not shown by the kernel"),
    "folded": ("connect", "without address and port: too many keys"),
    "unnumbered": ("attempt", "by unknown process"),
    "names": ("DNS answer", "not read"),
    "snapshots": ("snapshot", "given up before"),
}


def show_incomplete(
    settings: Settings,
    *,
    host: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    as_json: bool,
) -> None:
    """One line, or object, for each snapshot that is not what it should be, the newest last."""
    from detector.cli.store import stored
    from detector.store.health import find_incomplete

    with stored(settings) as connection:
        page = find_incomplete(connection, host=host, since=since, until=until, limit=limit)
    if as_json:
        print_json([_as_object(each) for each in page.found])
    elif page.found:
        _print(page)
    elif page.total_snapshots:
        note(f"complete: {page.total_snapshots:,} snapshot{'' if page.total_snapshots == 1 else 's'}")
    else:
        note("no snapshots match")
    if page.more:
        note("there are older ones too: narrow the search, or raise --limit")


def _as_object(snapshot: SnapshotHealth) -> dict[str, Any]:
    health = snapshot.health
    return {
        "host": snapshot.host,
        "start": snapshot.start,
        "end": snapshot.end,
        "complete": snapshot.complete,
        "missing": _words(snapshot, _in_utc),
        **{f"lost_{field.name}": getattr(snapshot.losses, field.name) for field in fields(Losses)},
        "self_test_passed": health.self_test_passed,
        "blind_since": health.blind_since,
        "late_seconds": health.late_seconds,
        "clock_step_seconds": health.clock_step_seconds,
        "suspended_seconds": health.suspended_seconds,
        "gap_seconds": snapshot.gap_seconds,
        "waited_seconds": snapshot.waited_seconds,
        "set_aside": snapshot.set_aside,
        "unseen": health.unseen,
    }


def _print(page: HealthPage) -> None:
    start, starts = local_column("start", [each.start for each in page.found])
    end, ends = local_column("end", [each.end for each in page.found])
    columns = [start, end, Column("complete"), Column("missing", fold=True)]
    lines: list[tuple[str, ...]] = [
        (first, last, "yes" if each.complete else "no", ", ".join(_words(each, local)))
        for each, first, last in zip(page.found, starts, ends, strict=True)
    ]
    if len({each.host for each in page.found}) > 1:
        columns.insert(0, Column("host", fold=True))
        lines = [(each.host, *line) for each, line in zip(page.found, lines, strict=True)]
    print_table(columns, lines)


def _words(snapshot: SnapshotHealth, shown: Callable[[datetime], str]) -> list[str]:
    """Each thing that is not as it should be, the worst first."""
    health = snapshot.health
    words = []
    if health.blind_since is not None:
        words.append(f"blind since {shown(health.blind_since)}")
    elif health.self_test_passed is False:
        words.append("blind: the self-test failed")
    if snapshot.set_aside is not None:
        words.append(f"what was stored before is in {snapshot.set_aside}, which is damaged")
    if snapshot.gap_seconds:
        words.append(f"nobody watched for {_duration(snapshot.gap_seconds)} before")
    for kind, number in snapshot.losses.nonzero().items():
        noun, what = _LOSSES[kind]
        words.append(f"{number:,} {noun}{'' if number == 1 else 's'} {what}")
    if health.late_seconds:
        words.append(f"drained {_duration(health.late_seconds)} late")
    if snapshot.waited_seconds:
        words.append(f"waited {_duration(snapshot.waited_seconds)} for the database")
    if health.clock_step_seconds:
        way = "forward" if health.clock_step_seconds > 0 else "back"
        words.append(f"clock set {way} by {_duration(abs(health.clock_step_seconds))}")
    if health.suspended_seconds:
        words.append(f"suspended for {_duration(health.suspended_seconds)}")
    if health.unseen:
        words.append(f"not seen on this kernel: {'; '.join(health.unseen)}")
    return words


def _in_utc(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _duration(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.3g} s"
