"""What comes of the hosts: whether snapshots arrive, detection sees them, and they are complete."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from detector.amounts import humanised, numbered
from detector.cli.checks.check import Check, bad, doubtful, good
from detector.cli.terminal import local

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from detector.config import Settings
    from detector.store.health import SnapshotHealth
    from detector.store.liveness import Liveness

_LOOKED_BACK = timedelta(days=1)
# On whichever machine that is.
_START = "start it there: systemctl start detector-{role}, or detector {role}"
# Of snapshots that lack something no more are counted.
_MOST = 10_000


def capturing(settings: Settings) -> Iterator[Check]:
    """A line for each host's last snapshot and its detection, and one for what the last day's snapshots lack."""
    from detector.cli.store import stored
    from detector.store.health import find_incomplete
    from detector.store.liveness import liveness

    now = datetime.now(UTC)
    with stored(settings) as connection:
        hosts = liveness(connection)
        page = find_incomplete(connection, since=now - _LOOKED_BACK, limit=_MOST)
    if not hosts:
        yield doubtful("snapshots", "none is stored of any host yet", "start: detector run, or collect and detect")
        return
    for host in hosts:
        yield _captured(host, now)
        yield from _detected(host)
    yield from _complete([each for each in page.found if not each.complete], page.total_snapshots)


def _captured(host: Liveness, now: datetime) -> Check:
    from detector.service.heartbeat import is_capturing

    last = f"the last snapshot of {host.host} ended {local(host.captured_until)}"
    if is_capturing(host, now):
        return good("snapshots", last)
    if host.stopped:
        return doubtful("snapshots", f"{last}; its collector was stopped in order", _START.format(role="collect"))
    return bad("snapshots", f"{last}; none has come since", f"look at detector collect on {host.host}")


def _detected(host: Liveness) -> Iterator[Check]:
    from detector.service.heartbeat import is_behind

    if is_behind(host):
        seen = f"seen up to {local(host.detected_until)}" if host.detected_until else "not seen at all"
        remedy = f"{_START.format(role='detect')}; if it runs, see what it says"
        yield bad("detection", f"is behind: what was captured of {host.host} is {seen}", remedy)


def _complete(lacking: Sequence[SnapshotHealth], total: int) -> Iterator[Check]:
    if not total:
        return
    if not lacking:
        yield good("completeness", f"nothing was lost in the {numbered(total, 'snapshot')} of the last day")
        return
    lost: dict[str, int] = {}
    for each in lacking:
        for kind, number in each.losses.nonzero().items():
            lost[kind] = lost.get(kind, 0) + number
    said = ", ".join(f"{number:,} {kind.replace('_', ' ')}" for kind, number in lost.items())
    blind = sum(each.health.blind_since is not None for each in lacking)
    unwatched = timedelta(seconds=sum(each.gap_seconds for each in lacking))
    are = "is" if len(lacking) == 1 else "are"
    finding = f"{len(lacking):,} of the {numbered(total, 'snapshot')} of the last day {are} not complete" + "".join(
        (
            f"; lost: {said}" if said else "",
            f"; {blind:,} taken blind" if blind else "",
            f"; nobody watched for {humanised(unwatched)} in all" if unwatched else "",
        )
    )
    yield doubtful("completeness", finding, "see what each lacks: detector query --incomplete --since 1d")
