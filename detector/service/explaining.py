"""Why a rule made an alert: its selections and counts, looked at with the rows behind the alert."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import select

from detector.ruleset import ranges
from detector.ruleset.documents import read_documents
from detector.ruleset.explain import Count, Selection, counted, explained, passed_over
from detector.ruleset.matchers import EventMatcher
from detector.store import bulk, scratch
from detector.store.alerts import places_behind
from detector.store.candidates import OBSERVED, Reader
from detector.store.extent import Part
from detector.store.packing import COUNT_COLUMNS
from detector.store.scratch import Scratch
from detector.store.tables import metadata, snapshots

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from detector.ruleset.catalogue import Entry
    from detector.ruleset.documents import Document
    from detector.ruleset.explain import RowPlace
    from detector.ruleset.filters import Filter
    from detector.ruleset.lists import Lists

MOST_ROWS = 20_000
"""So many of the rows behind an alert are looked at: the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What a rule has to do with an alert."""

    rows: int
    """Rows behind the alert that are still stored."""
    gone: int
    """Those that have expired, or cannot be read."""
    selections: Sequence[tuple[str, str, Sequence[Selection]]]
    """Of the rule, or of each rule that it counts: the title, the condition, and the selections."""
    count: Count | None
    """Of a correlation."""
    passed_over: Sequence[tuple[Filter, int]]
    """The filters in force that would take some of the rows from the rule today, and how many."""


def explain(connection: Connection, entry: Entry, bases: Sequence[Entry], lists: Lists, alert_id: int) -> Explanation:
    """Why a rule made an alert.

    Args:
        connection: the transaction.
        entry: the rule, which is sound.
        bases: the rules that it counts; of a single-event rule, itself.
        lists: those that rules can name.
        alert_id: number of the alert.

    Raises:
        StoreError: the database is away.
    """
    assert entry.rule is not None  # noqa: S101 - it is sound
    category = entry.rule.matcher.wanted.category
    host_id, behind = places_behind(connection, alert_id, MOST_ROWS)
    ends = _ends(connection, host_id, {seq for seq, _, _ in behind})
    with _rows(connection, host_id, behind) as (rows, there):
        if rows is not connection:
            ranges.keep(
                rows, (each for base in bases if base.rule for each in base.rule.matcher.wanted.matching.ranges)
            )
        filters = {each.rule_id: each for one in (entry, *bases) if one.rule for each in one.rule.filters}
        passed = (
            (each, passed_over(rows, host_id, _document(each), category, lists, there)) for each in filters.values()
        )
        taken = [(each, number) for each, number in passed if number]
        selections = []
        for base in bases:
            document = _document(base)
            of_base = explained(rows, host_id, document, category, lists, there)
            selections.append((base.title, str(document.content["detection"]["condition"]), of_base))
        matcher = entry.rule.matcher
        count = None
        if not isinstance(matcher, EventMatcher):
            count = counted(rows, host_id, _document(entry), matcher, there, ends)
    return Explanation(
        rows=len(there), gone=len(behind) - len(there), selections=selections, count=count, passed_over=taken
    )


@contextmanager
def _rows(
    connection: Connection, host_id: int, behind: Sequence[RowPlace]
) -> Iterator[tuple[Connection, frozenset[RowPlace]]]:
    """Where the rows are that rules look at, and those that are there."""
    wanted = frozenset(behind)
    if any(not key_id for _, key_id, _ in wanted):
        # Snapshots themselves.
        ends = _ends(connection, host_id, {seq for seq, _, _ in wanted})
        yield connection, frozenset(place for place in wanted if place[0] in ends)
        return
    reader = Reader(
        connection=connection,
        host_id=host_id,
        columns=COUNT_COLUMNS,
        said=OBSERVED,
        may_say=None,
        most_rows=MOST_ROWS,
        told=lambda _: None,
    )
    spans = [(seq, seq) for seq in sorted({seq for seq, _, _ in wanted})]
    part = Part(keys=frozenset(key_id for _, key_id, _ in wanted), spans=spans)
    there: set[RowPlace] = set()
    with scratch.opened() as memory:
        copied = Scratch(connection, memory, host_id, frozenset(metadata.tables.values()))
        for read in reader.read(part):
            copied.add(read)
            places = (read.seqs, read.columns["key_id"], read.columns["session"])
            there |= set(zip(*(each.tolist() for each in places), strict=True)) & wanted
        yield memory, frozenset(there)


def _ends(connection: Connection, host_id: int, seqs: set[int]) -> dict[int, datetime]:
    """When snapshots ended, those that are still there."""
    columns = snapshots.c
    of_host = select(columns.seq, columns.end).where(
        columns.host_id == host_id, bulk.among(connection, columns.seq, seqs)
    )
    return {row.seq: row.end for row in connection.execute(of_host)}


def _document(entry: Entry | Filter) -> Document:
    documents, _ = read_documents(Path(entry.path))
    return next(each for each in documents if str(each.content.get("id", "")).lower() == entry.rule_id)
