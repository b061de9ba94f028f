"""`x-detector: new_terms`: what a combination of values is that this host has not had for a while.

Of each combination the store keeps on which days it was there, and the first snapshot of each day with it: what is new
in a snapshot is so whenever it is asked, and however long the database has been there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, select, true

from detector.ruleset.conditions import Comparison, Matching
from detector.ruleset.correlation import read_group_by
from detector.ruleset.events import ANY, HOST_ID, SEQ, tables_of
from detector.ruleset.lint import mapping_of
from detector.ruleset.sieve import Wanted, plain
from detector.ruleset.times import read_span
from detector.ruleset.wording import listed, shown
from detector.store import bulk
from detector.store.tables import daily_counts, detection_cursors, noted_fields, seen_terms, snapshots

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy import Connection

    from detector.domain import SnapshotRef
    from detector.ruleset.documents import Faults
    from detector.ruleset.events import Category
    from detector.ruleset.fields import Field

_DAY = timedelta(days=1)
_LONGEST = timedelta(days=365)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SEEN = seen_terms.c
# Of what was there before there was a rule.
_BEFORE = 0
# A clock may be set back.
_SPARE_DAYS = 2
# SQLite accepts 32,766 bound parameters a statement.
_LOOKUP_BATCH = 5000

Values = tuple[Any, ...]
"""Of some fields, as the database has them."""

Noted = Mapping[bytes, Mapping[Values, int]]
"""By the keys of fields, and values: the last day before a snapshot on which they were there."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NewTerms:
    """A combination of values is new if the host did not have it during the window before a snapshot."""

    fields: tuple[Field, ...]
    window: timedelta
    category: Category

    @property
    def key(self) -> bytes:
        """Under which the store keeps what was seen of these fields, in whatever order they are named."""
        return _digest(sorted(field.name for field in self.fields))

    @property
    def columns(self) -> tuple[Any, ...]:
        """The fields' values, in an order that does not depend on how they are named."""
        return tuple(field.expression for field in sorted(self.fields, key=lambda field: field.name))

    def since(self, snapshot: SnapshotRef) -> int:
        """The day that the window reaches back to."""
        return _day_of(snapshot.start - self.window)


def read_new_terms(value: Any, category: Category, faults: Faults, *place: str) -> NewTerms | None:
    """The section, of a rule over events of `category`; None when it is refused."""
    before = len(faults.found)
    if category.days is None:
        faults.add(f"new_terms is not for {category.name}, of which nothing is remembered; remove it", *place)
        return None
    written = mapping_of(value, ("fields", "window"), faults, *place)
    if written is None:
        return None
    for key, example in (("fields", category.example_group), ("window", "30d")):
        if key not in written:
            faults.add(f"new_terms has no {key}; add '{key}: {example}'", *place)
    fields = read_group_by(written.get("fields"), category, faults, *place, "fields")
    known = _remembered(category)
    for field in fields:
        if field.name not in known:
            faults.add(f"{field.name} is not remembered by days; {listed(known)}", *place, "fields")
    window = read_span(written.get("window"), "window", _LONGEST, faults, *place, "window")
    if window is not None and window < _DAY:
        faults.add(f"the window {shown(written['window'])} is shorter than a day; lengthen it", *place, "window")
    if len(faults.found) > before or not fields or window is None:
        return None
    return NewTerms(fields=fields, window=window, category=category)


def _remembered(category: Category) -> list[str]:
    """The names of the fields whose values are kept of each day."""
    days = category.days
    tables = {join.table for join in (*days.joined, *days.others)} if days is not None else set()
    return [name for name, field in category.grouping.items() if tables_of(field.expression) <= tables]


class Terms:
    """What is new in a snapshot, for some rules: each combination of fields is looked at once."""

    def __init__(self, asked: Iterable[NewTerms]) -> None:
        by_key: dict[bytes, list[NewTerms]] = defaultdict(list)
        for each in asked:
            by_key[each.key].append(each)
        # Of each combination of fields the one that looks farthest back.
        self._farthest = {key: max(several, key=lambda each: each.window) for key, several in by_key.items()}
        self._forgot: dict[int, int] = {}

    @property
    def wanted(self) -> list[Wanted]:
        """What has to be known of all rows of a snapshot."""
        return [
            Wanted(
                each.category,
                Matching(
                    condition=Comparison(true(), values=0),
                    ways=((ANY, true()),),
                    weights=each.category.weights,
                    comparisons=1,
                    values=0,
                ),
                each.columns,
            )
            for each in self._farthest.values()
        ]

    def noted(self, connection: Connection, snapshot: SnapshotRef, rows: Sequence[Sequence[Values]]) -> Noted:
        """Notes the combinations of a snapshot, and gives when each was there before, if it was.

        Args:
            connection: the transaction, which writes.
            snapshot: the one at hand.
            rows: what `wanted` asks for.
        """
        if self._farthest:
            self._fill_in(connection, snapshot)
            self._forget(connection, snapshot)
        return {
            key: _noted(connection, snapshot, key, set(found)) for key, found in zip(self._farthest, rows, strict=True)
        }

    def _fill_in(self, connection: Connection, snapshot: SnapshotRef) -> None:
        """What nobody has noted: before there was a rule, while there was none, or what the window reaches back to."""
        known = {
            bytes(row.fields): row
            for row in connection.execute(select(noted_fields).where(noted_fields.c.host_id == snapshot.host_id))
        }
        rows = []
        for key, each in self._farthest.items():
            since, last_seq, before = each.since(snapshot), snapshot.seq, known.get(key)
            if before is None or before.since > since or before.last_seq < snapshot.seq - 1:
                _fill_in(connection, snapshot, each)
            else:
                since, last_seq = before.since, max(last_seq, before.last_seq)
            rows.append((snapshot.host_id, key, since, last_seq))
        bulk.upsert(connection, noted_fields, ("host_id", "fields", "since", "last_seq"), rows)

    def _forget(self, connection: Connection, snapshot: SnapshotRef) -> None:
        """Deletes, once a day, what no window reaches back to."""
        today = _day_of(snapshot.start)
        if self._forgot.get(snapshot.host_id) == today:
            return
        for key, each in self._farthest.items():
            of_fields = (_SEEN.host_id == snapshot.host_id, _SEEN.fields == key)
            connection.execute(delete(seen_terms).where(*of_fields, _SEEN.day < each.since(snapshot) - _SPARE_DAYS))
        self._forgot[snapshot.host_id] = today


def is_new(terms: NewTerms, values: Values, snapshot: SnapshotRef, noted: Noted) -> bool:
    """Whether the host did not have these values of `terms.columns` in the window; never of what is missing."""
    if None in values:
        return False
    last = noted[terms.key].get(values)
    return last is None or last < terms.since(snapshot)


def _noted(
    connection: Connection, snapshot: SnapshotRef, key: bytes, combinations: Iterable[Values]
) -> dict[Values, int]:
    terms = {_digest(values): values for values in combinations if None not in values}
    found: dict[Values, int] = {}
    for some in _batches(list(terms)):
        rows = connection.execute(
            select(_SEEN.terms, func.max(_SEEN.day))
            .where(
                _SEEN.host_id == snapshot.host_id,
                _SEEN.fields == key,
                bulk.among(connection, _SEEN.terms, some),
                _SEEN.first_seq < snapshot.seq,
            )
            .group_by(_SEEN.terms)
        )
        found |= {terms[bytes(each)]: day for each, day in rows}
    today = _day_of(snapshot.start)
    new = [each for each, values in terms.items() if found.get(values) != today]
    bulk.upsert(
        connection,
        seen_terms,
        ("host_id", "fields", "terms", "day", "first_seq"),
        [(snapshot.host_id, key, each, today, snapshot.seq) for each in new],
    )
    return found


def known_before(connection: Connection, snapshot: SnapshotRef, terms: NewTerms) -> dict[Values, int]:
    """By combination the last day on which it was there before a snapshot: of days, and of the rows that are not part
    of these yet. A combination of which a value is missing is left out.
    """
    place = {"host_id": snapshot.host_id, "seq": snapshot.seq}
    last: dict[Values, int] = {}
    for statement in _before(snapshot, terms):
        for moment, *values in connection.execute(statement, place):
            known = tuple(values)
            if None not in known:
                last[known] = max(last.get(known, 0), _day_of(moment))
    return last


def _fill_in(connection: Connection, snapshot: SnapshotRef, terms: NewTerms) -> None:
    """Notes what was there before the rule was."""
    bulk.upsert(
        connection,
        seen_terms,
        ("host_id", "fields", "terms", "day", "first_seq"),
        [
            (snapshot.host_id, terms.key, _digest(values), day, _BEFORE)
            for values, day in known_before(connection, snapshot, terms).items()
        ],
    )


def _before(snapshot: SnapshotRef, terms: NewTerms) -> Iterator[Any]:
    """Statements that give when a combination was there last, and the combination."""
    columns = [plain(column).label(f"term_{index}") for index, column in enumerate(terms.columns)]
    names = [column.name for column in columns]
    days, rows = terms.category.days, terms.category.rows
    if days is not None:
        counts = daily_counts.c
        yield days.select(
            [func.max(counts.start), *columns],
            counts.host_id == HOST_ID,
            counts.start >= _EPOCH + terms.since(snapshot) * _DAY,
            counts.first_seen < snapshot.start,
        ).group_by(*names)
    rolled = select(detection_cursors.c.rolled_seq).where(detection_cursors.c.host_id == HOST_ID).scalar_subquery()
    yield rows.select(
        [func.max(snapshots.c.start), *columns],
        rows.table.c.host_id == HOST_ID,
        rows.table.c.seq > func.coalesce(rolled, 0),
        rows.table.c.seq < SEQ,
        snapshots.c.start < snapshot.start,
    ).group_by(*names)


def _day_of(moment: datetime) -> int:
    """The number of the day, of UTC, since 1970."""
    return (moment - _EPOCH) // _DAY


def _digest(values: Iterable[Any]) -> bytes:
    """16 bytes that stand for some values: BLAKE2b over them, each with its length."""
    state = blake2b(digest_size=16)
    for value in values:
        raw = bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode()
        state.update(len(raw).to_bytes(4, "big") + raw)
    return state.digest()


def _batches(values: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(values), _LOOKUP_BATCH):
        yield values[start : start + _LOOKUP_BATCH]
