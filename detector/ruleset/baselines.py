"""`x-detector: baseline`: what a group does in an hour is many times what it usually does.

Of each group the store keeps what its matching rows added up to in each hour. The hour of a snapshot counts as far as
it has come; the others are what is usual.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from math import inf, isfinite
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, select

from detector.ruleset.correlation import LONGEST, summed_field
from detector.ruleset.fields import MOST
from detector.ruleset.lint import mapping_of
from detector.ruleset.times import read_span
from detector.ruleset.wording import shown
from detector.store import bulk
from detector.store.tables import usual_counts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import Connection

    from detector.domain import Scalar, SnapshotRef
    from detector.ruleset.documents import Faults
    from detector.ruleset.events import Category
    from detector.ruleset.fields import Field
    from detector.ruleset.matchers import Match

FEWEST_HOURS = 3
"""What a group did in fewer hours says nothing about what it usually does."""

_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_FACTOR = 1_000_000
_HOURS = usual_counts.c
# SQLite accepts 32,766 bound parameters a statement.
_LOOKUP_BATCH = 5000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Baseline:
    """An hour is unusual from `factor` times what is usual, and from `minimum`."""

    factor: float
    minimum: int
    window: timedelta
    field: Field | None
    """What is added up; None: events."""
    counts: str
    """What is counted, as the rule has it: what was counted otherwise says nothing about it."""


def read_baseline(value: Any, category: Category, faults: Faults, *place: str) -> Baseline | None:
    """The section, of a rule over events of `category`; None when it is refused."""
    before = len(faults.found)
    written = mapping_of(value, ("factor", "window", "minimum", "field"), faults, *place)
    if written is None:
        return None
    for key, example in (("factor", "5"), ("window", "7d"), ("minimum", "100")):
        if key not in written:
            faults.add(f"baseline has no {key}; add '{key}: {example}'", *place)
    factor, minimum, field = (written.get(key) for key in ("factor", "minimum", "field"))
    if factor is not None and not (_is_number(factor) and 1 < factor <= _MOST_FACTOR):
        faults.add(f"factor is a number above 1, not {shown(factor)}; write one such as 5", *place, "factor")
    if minimum is not None and not (isinstance(minimum, int) and _is_number(minimum) and 0 < minimum <= MOST):
        faults.add(f"minimum is a whole number, not {shown(minimum)}; write one such as 100", *place, "minimum")
    window = read_span(written.get("window"), "window", LONGEST, faults, *place, "window")
    if window is not None and window < _DAY:
        faults.add(f"the window {shown(written['window'])} is shorter than a day; lengthen it", *place, "window")
    summed = None if field is None else summed_field(field, category, faults, *place, "field")
    if len(faults.found) > before or factor is None or minimum is None or window is None:
        return None
    content = faults.document.content
    counted = [content.get("id"), content.get("detection"), content[place[0]].get("group_by"), field]
    return Baseline(
        factor=factor, minimum=minimum, window=window, field=summed, counts=json.dumps(counted, default=str)
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def subject(baseline: Baseline, group: Mapping[str, Scalar]) -> bytes:
    """Under which the store keeps the hours of a group."""
    named = json.dumps([baseline.counts, sorted(group.items())])
    return blake2b(named.encode(), digest_size=16).digest()


class Hours:
    """What the groups of rules did in each hour."""

    def __init__(self) -> None:
        self._forgot: dict[int, int] = {}

    def unusual(
        self, connection: Connection, snapshot: SnapshotRef, baseline: Baseline, matches: Iterable[Match]
    ) -> Iterator[Match]:
        """Takes a snapshot into the hour that it began in; gives those of its matches whose group is unusual by now.

        A host's snapshots come in their order. The last one may come again, and counts once.

        Args:
            connection: the transaction, which writes.
            snapshot: the one at hand.
            baseline: from when on an hour is unusual.
            matches: a match for each group that the snapshot adds to.
        """
        by_subject = {subject(baseline, match.group): match for match in matches}
        amounts = {which: match.amount for which, match in by_subject.items()}
        hour = (snapshot.start - _EPOCH) // _HOUR
        so_far = dict.fromkeys(amounts, 0)
        usual: dict[bytes, list[int]] = defaultdict(list)
        for some in _batches(list(amounts)):
            rows = connection.execute(
                select(_HOURS.subject, _HOURS.hour, _HOURS.total, _HOURS.seq, _HOURS.before).where(
                    _HOURS.host_id == snapshot.host_id,
                    bulk.among(connection, _HOURS.subject, some),
                    _HOURS.hour.between(hour - baseline.window // _HOUR, hour),
                )
            )
            for which, when, total, seq, before in rows:
                if when < hour:
                    usual[bytes(which)].append(total)
                else:
                    so_far[bytes(which)] = total if seq < snapshot.seq else before
        now = {which: so_far[which] + amount for which, amount in amounts.items()}
        bulk.upsert(
            connection,
            usual_counts,
            ("host_id", "subject", "hour", "total", "seq", "before"),
            [(snapshot.host_id, which, hour, now[which], snapshot.seq, so_far[which]) for which in amounts],
        )
        for which, match in by_subject.items():
            hours = usual[which]
            if now[which] >= threshold_of(len(hours), sum(hours), baseline):
                yield match

    def forget(self, connection: Connection, snapshot: SnapshotRef, longest: timedelta) -> None:
        """Deletes, once a day, what is older than the longest of all windows."""
        day = (snapshot.start - _EPOCH) // _DAY
        if self._forgot.get(snapshot.host_id) != day:
            oldest = (snapshot.start - longest - _DAY - _EPOCH) // _HOUR
            connection.execute(delete(usual_counts).where(_HOURS.host_id == snapshot.host_id, _HOURS.hour < oldest))
            self._forgot[snapshot.host_id] = day


def threshold_of(hours: int, total: int, baseline: Baseline) -> float:
    """From which amount on an hour is unusual.

    Args:
        hours: in how many hours of the window the group did anything.
        total: what these came to.
        baseline: how many times the usual is unusual.
    """
    # Usual is the mean of the hours in which the group did anything: what comes once a night is usual then.
    return max(baseline.minimum, baseline.factor * total / hours) if hours >= FEWEST_HOURS else inf


def _batches(values: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(values), _LOOKUP_BATCH):
        yield values[start : start + _LOOKUP_BATCH]
