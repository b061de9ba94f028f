"""Says of rows which selections of a rule hold for them, and by which of their lines and values."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from sqlalchemy import Integer, case, false, func, literal_column, not_

from detector.ruleset.conditions import Matching
from detector.ruleset.correlation import TEMPORAL
from detector.ruleset.documents import Faults
from detector.ruleset.events import HOST_ID
from detector.ruleset.fields import Kind
from detector.ruleset.filters import read_exclusion
from detector.ruleset.selections import read_selection
from detector.ruleset.windows import PLACE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from datetime import datetime, timedelta

    from sqlalchemy import ColumnElement, Connection

    from detector.ruleset.correlating import CorrelationMatcher
    from detector.ruleset.documents import Document, Place
    from detector.ruleset.events import Category
    from detector.ruleset.fields import Field
    from detector.ruleset.lists import Lists

_ONE, _ZERO = literal_column("1", Integer), literal_column("0", Integer)

RowPlace = tuple[int, int, int]
"""Snapshot, key and session."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of a selection, and the rows that it holds for."""

    number: int
    """In the rule's file."""
    text: str
    rows: int
    values: tuple[tuple[Any, int], ...]
    """What those rows have there, and how many of them, the most frequent first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """A selection of a rule, and the rows that it holds for."""

    name: str
    number: int
    rows: int
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class _Item:
    place: Place
    text: str
    condition: ColumnElement[bool]
    value: ColumnElement[Any]


def explained(
    connection: Connection,
    host_id: int,
    document: Document,
    category: Category,
    lists: Lists,
    places: Collection[RowPlace],
) -> tuple[Selection, ...]:
    """What each selection of a sound rule of `category` has to do with some rows of a host.

    Args:
        connection: where the rows are.
        host_id: whose.
        document: the rule's.
        category: what the rule looks at.
        lists: those that it can name.
        places: of the rows.
    """
    section = document.content["detection"]
    found = []
    for name, definition in section.items():
        if name in ("condition", "timeframe"):
            continue
        items = list(_items(document, name, definition, category, lists))
        holds = _condition(definition, ("detection", name), category, lists, document)
        rows = list(_read(connection, host_id, category, [holds, *(each for item in items for each in _asked(item))]))
        rows = [row for row in rows if tuple(row[:3]) in places]
        found.append(
            Selection(
                name=name,
                number=document.line("detection", name),
                rows=sum(row[3] for row in rows),
                lines=tuple(_line(document, item, rows, 4 + 2 * index) for index, item in enumerate(items)),
            )
        )
    return tuple(found)


def passed_over(
    connection: Connection,
    host_id: int,
    document: Document,
    category: Category,
    lists: Lists,
    places: Collection[RowPlace],
) -> int:
    """How many of some rows of a host a sound filter of `category` takes from the rules that it is for; else see
    `explained`.
    """
    exclusion = read_exclusion(document.content["filter"], category, Faults(document), lists)
    assert exclusion is not None  # noqa: S101 - the filter is sound
    kept = Matching.of(exclusion.condition, category.weights).rows
    rows = _read(connection, host_id, category, [not_(func.coalesce(kept, false()))])
    return sum(row[3] for row in rows if tuple(row[:3]) in places)


def _items(document: Document, name: str, definition: Any, category: Category, lists: Lists) -> Iterator[_Item]:
    """The lines of a selection, each by itself."""
    several = [((), definition)] if isinstance(definition, dict) else [((n,), e) for n, e in enumerate(definition)]
    for where, each in several:
        for key, value in each.items():
            place: Place = ("detection", name, *where, key)
            field: Field = category.fields[key.partition("|")[0]]
            yield _Item(
                place=place,
                text=f"{key}: {_written(value)}",
                condition=_condition({key: value}, place, category, lists, document),
                value=field.expression if field.kind is not Kind.OUTCOME else literal_column("NULL"),
            )


def _condition(
    definition: Any, place: Place, category: Category, lists: Lists, document: Document
) -> ColumnElement[bool]:
    condition = read_selection(definition, place, category, Faults(document), lists)
    assert condition is not None  # noqa: S101 - the rule is sound
    return Matching.of(condition, category.weights).rows


def _asked(item: _Item) -> tuple[ColumnElement[bool], ColumnElement[Any]]:
    return item.condition, item.value


def _read(
    connection: Connection, host_id: int, category: Category, asked: Sequence[ColumnElement[Any]]
) -> Iterator[Sequence[Any]]:
    """The place of each row, then of conditions whether they hold (1 or 0), and the values as they are."""
    columns = [
        case((each, _ONE), else_=_ZERO) if number % 2 == 1 or number == 0 else each for number, each in enumerate(asked)
    ]
    rows = category.rows
    labelled = [column.label(f"asked_{number}") for number, column in enumerate(columns)]
    statement = rows.select([*rows.place, *labelled], rows.table.c.host_id == HOST_ID)
    yield from connection.execute(statement, {"host_id": host_id})


def _line(document: Document, item: _Item, rows: Sequence[Sequence[Any]], column: int) -> Line:
    holding = [row for row in rows if row[column]]
    values = Counter(row[column + 1] for row in holding)
    return Line(
        number=document.line(*item.place), text=item.text, rows=len(holding), values=tuple(values.most_common())
    )


def _written(value: Any) -> str:
    return f"[{', '.join(map(_written, value))}]" if isinstance(value, list) else str(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """What the rows behind an alert come to, for a correlation."""

    type: str
    field: str | None
    most: int
    """Within one window, at most; of rules that are to match together, how many did."""
    condition: str
    """What was asked for."""
    timespan: timedelta


def counted(
    connection: Connection,
    host_id: int,
    document: Document,
    matcher: CorrelationMatcher,
    places: Collection[RowPlace],
    ends: Mapping[int, datetime],
) -> Count:
    """How much rows of one group come to within a window.

    Args:
        connection: where the rows are.
        host_id: whose.
        document: the correlation's.
        matcher: what it counts.
        places: of the rows.
        ends: when their snapshots ended, by number.
    """
    wanted, rows = matcher.wanted, matcher.wanted.category.rows
    statement = rows.select(
        [*rows.place, wanted.columns[PLACE].label("number")], rows.table.c.host_id == HOST_ID, wanted.matching.rows
    )
    section = document.content["correlation"]
    of_rules = section["type"] in TEMPORAL
    found = [
        (ends[seq], each)
        for seq, key_id, session, number in connection.execute(statement, {"host_id": host_id})
        if (seq, key_id, session) in places and number is not None
        for each in (_set_bits(number) if of_rules else (number,))
    ]
    condition = section.get("condition", f"all {len(section['rules'])} rules")
    field = condition.get("field") if isinstance(condition, dict) else None
    asked = {key: value for key, value in condition.items() if key != "field"} if isinstance(condition, dict) else {}
    return Count(
        type=section["type"],
        field=field,
        most=_most_within(found, matcher.timespan, distinct=of_rules or section["type"] == "value_count"),
        condition=", ".join(f"{key} {value}" for key, value in asked.items()) or str(condition),
        timespan=matcher.timespan,
    )


def _set_bits(number: int) -> Iterator[int]:
    """Which rules a row matches, of those that `temporal` names."""
    return (bit for bit in range(number.bit_length()) if number >> bit & 1)


def _most_within(found: Sequence[tuple[datetime, Any]], timespan: timedelta, *, distinct: bool) -> int:
    """The most different values that are in a window together, or the largest sum."""
    ordered = sorted(found, key=itemgetter(0))
    held: Counter[Any] = Counter()
    most = total = first = 0
    for end, number in ordered:
        held[number] += 1
        total += 0 if distinct else int(number)
        while ordered[first][0] <= end - timespan:
            gone = ordered[first][1]
            held[gone] -= 1
            if not held[gone]:
                del held[gone]
            total -= 0 if distinct else int(gone)
            first += 1
        most = max(most, len(held) if distinct else total)
    return most
