"""Finds what of a host's stored past may matter to a rule, by what tells of it without unpacking: keys, the sums of
hours and days, and what comes together. What is left out cannot match; of what is chosen, each row may.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from detector.store.crowds import Crowds
from detector.store.extent import Part, plain, spans_of
from detector.store.summed import by_crowds, by_hours, hours_tell, tail
from detector.store.tables import connection_keys, detection_cursors, hosts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection, Select

    from detector.store.extent import Asked, Extent, Keys, Span

# So few snapshots are not looked at twice.
_FEW_SNAPSHOTS = 2_000


def choose(connection: Connection, asked: Asked, whole: Extent) -> list[Part]:
    """What may matter of all that is stored, in order; no two parts share a snapshot."""
    crowd = asked.crowd
    keys: Keys = {key_id: tuple(group) for key_id, *group in connection.execute(_grouped_keys(asked))}
    values = None
    if crowd is not None and crowd.value is not None:
        values = {key_id: group[-1] for key_id, group in keys.items()}
        keys = _with_values(keys, crowd.threshold)
    if not keys:
        return []
    parts = _by_sums(connection, asked, keys, whole)
    if crowd is None or not _many(parts):
        return parts
    return _crowds(connection, asked, parts, Crowds(keys, values, crowd))


def _by_sums(connection: Connection, asked: Asked, keys: Keys, whole: Extent) -> list[Part]:
    """What may matter by the sums of hours and days."""
    crowd = asked.crowd
    rolled = connection.scalar(
        select(detection_cursors.c.rolled_seq).where(detection_cursors.c.host_id == asked.host_id)
    )
    told = (whole.first, min(rolled or 0, whole.last))
    narrowed = None
    if told[0] <= told[1] and hours_tell(connection, asked.host_id, told):
        narrowed = by_hours(connection, asked, keys) if crowd is None else by_crowds(connection, asked, keys, whole)
    if narrowed is None:
        return [Part(keys=frozenset(keys), spans=[(whole.first, whole.last)])]
    some, times = narrowed
    # What is not added up yet is told by the snapshots alone, and so is a window that reaches into it.
    back = timedelta(0) if crowd is None else crowd.timespan
    begins = tail(connection, asked.host_id, told[1], whole, back)
    spans = spans_of(connection, asked.host_id, times, (whole.first, begins - 1))
    parts = [Part(keys=frozenset(some), spans=spans), Part(keys=frozenset(keys), spans=[(begins, whole.last)])]
    return [part for part in parts if part.spans and part.spans[0][0] <= part.spans[-1][1]]


def _grouped_keys(asked: Asked) -> Select[Any]:
    """The keys that may matter, each with its group and, if that is asked for, its value."""
    keys, crowd = connection_keys.c, asked.crowd
    columns = [] if crowd is None else [*crowd.group, *([] if crowd.value is None else [crowd.value])]
    return (
        select(keys.key_id, *map(plain, columns))
        .select_from(connection_keys.join(hosts, hosts.c.host_id == keys.host_id))
        .where(keys.host_id == asked.host_id, asked.of_key)
    )


def _with_values(keys: Keys, threshold: int) -> Keys:
    """The keys of groups that ever had so many values, each with its group alone."""
    values: dict[tuple[Any, ...], set[Any]] = defaultdict(set)
    for *group, value in keys.values():
        if value is not None:
            values[tuple(group)].add(value)
    return {key_id: each[:-1] for key_id, each in keys.items() if len(values[each[:-1]]) >= threshold}


def _many(parts: Sequence[Part]) -> bool:
    return sum(last - first for part in parts for first, last in part.spans) > _FEW_SNAPSHOTS


def _crowds(connection: Connection, asked: Asked, parts: list[Part], crowds: Crowds) -> list[Part]:
    """What is left of parts, looked at snapshot by snapshot."""
    spans = [span for part in parts for span in part.spans]
    if not spans or not crowds.look(connection, asked.host_id, spans):
        return parts
    left = spans_of(connection, asked.host_id, crowds.times, (spans[0][0], spans[-1][1]))
    found = [
        Part(keys=part.keys & crowds.keys, spans=[both for span in part.spans for both in _within(left, span)])
        for part in parts
    ]
    return [part for part in found if part.keys and part.spans]


def _within(spans: Iterable[Span], one: Span) -> list[Span]:
    """What `spans` share with one."""
    shared = ((max(first, one[0]), min(last, one[1])) for first, last in spans)
    return [each for each in shared if each[0] <= each[1]]
