"""What of a stored past can matter to a rule, by what tells of it without unpacking: keys, sums of hours, words."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import Boolean, Text, literal, select, true
from sqlalchemy.sql import visitors

from detector.ruleset.bounds import Bounds
from detector.ruleset.correlating import CorrelationMatcher
from detector.ruleset.matchers import EventMatcher
from detector.ruleset.upper_bound import Known, columns_of, possible
from detector.ruleset.windows import PLACE
from detector.store.tables import (
    connection_counts,
    connection_keys,
    destination_names,
    hosts,
    hourly_counts,
    login_origins,
    observations,
    snapshots,
)

if TYPE_CHECKING:
    from datetime import timedelta

    from sqlalchemy import Column, ColumnElement, Connection, FromClause

    from detector.ruleset.evaluate import Rule

_SUMMED = ("attempted", "established", "refused", "timed_out", "failed", "handshake_us_max")
_OF_KEY: frozenset[FromClause] = frozenset({connection_keys, hosts})
_OF_HOUR = _OF_KEY | {login_origins, destination_names}
_NUMBERED: dict[FromClause, str] = {login_origins: "origin_id", destination_names: "name_id"}
_WORDS = (observations.c.channel, observations.c.novelty, observations.c.unusual)
_BOUNDS: dict[Any, Any] = {
    **{connection_counts.c[name]: hourly_counts.c[name] for name in _SUMMED},
    observations.c.score: hourly_counts.c.peak_score,
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Crowd:
    """What a correlation that asks for a threshold or more needs at least, somewhere in its window."""

    threshold: int
    timespan: timedelta
    group: tuple[ColumnElement[Any], ...]
    """As much of what it groups by as `connection_keys` tells."""
    value: ColumnElement[Any] | None
    """What is counted distinctly, of `connection_keys`; None: connects are added up."""
    sums: tuple[str, ...]
    """The columns of sums that its connects are at most."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sought:
    """What of a host's past may matter to a rule about connections. Whatever is left out cannot."""

    of_key: ColumnElement[bool]
    """A condition on `connection_keys`, beside `hosts`."""
    of_hour: ColumnElement[bool]
    """A condition on `hourly_counts`, beside `connection_keys`, `login_origins`, `destination_names` and `hosts`."""
    hours_say_more: bool
    """Whether the second asks for more than the first."""
    of_words: ColumnElement[bool] | None
    """A condition on the channel and the novelty of an observation, and on whether it is unusual; None: it asks nothing
    of them.
    """
    tables: frozenset[FromClause]
    """Where the rule's statements read, beside `connection_counts`."""
    counts: tuple[str, ...]
    """The columns of `connection_counts` by which a row matches and is grouped, `key_id` first."""
    said: frozenset[str]
    """What of that which detection says of a row matters: columns of `observations`."""
    crowd: Crowd | None
    _said: dict[tuple[str | None, str | None, bool | None], bool] = field(default_factory=dict)

    @classmethod
    def by(cls, rule: Rule) -> Sought:
        """What a rule of the category network_connection seeks."""
        wanted = rule.matcher.wanted
        # What is new depends on all rows.
        asks_all = isinstance(rule.matcher, EventMatcher) and rule.matcher.new_terms is not None
        condition = true() if asks_all else wanted.matching.rows
        read = columns_of(wanted.matching.rows).union(
            *map(columns_of, wanted.columns), columns_of(wanted.matching.weight)
        )
        # The place of a row says nothing of what it is.
        of_rows = columns_of(wanted.matching.rows).union(*map(columns_of, wanted.columns[PLACE:]))
        tables = frozenset(column.table for column in read).union(each.table for each in wanted.category.rows.joined)
        by_number = [name for table, name in _NUMBERED.items() if table in tables]
        return replace(
            cls.of(condition),
            tables=tables,
            counts=(
                "key_id",
                *by_number,
                *sorted(column.name for column in of_rows if column.table is connection_counts),
            ),
            said=frozenset(column.name for column in of_rows if column.table is observations),
            crowd=_crowd(rule.matcher) if isinstance(rule.matcher, CorrelationMatcher) else None,
        )

    @classmethod
    def of(cls, condition: ColumnElement[bool]) -> Sought:
        """What may meet a condition on rows about connections, all of which is wanted then."""
        of_words = possible(condition, Known(columns=frozenset(_WORDS)))
        more = columns_of(condition) & {*_BOUNDS, *login_origins.c, *destination_names.c}
        return cls(
            of_key=possible(condition, Known(tables=_OF_KEY)),
            of_hour=possible(condition, Known(tables=_OF_HOUR, most=_BOUNDS)),
            hours_say_more=bool(more - {connection_counts.c.attempted}),
            of_words=of_words if columns_of(of_words) else None,
            tables=frozenset({connection_counts, observations}),
            counts=tuple(column.name for column in connection_counts.c if column.name not in {"host_id", "seq"}),
            said=frozenset(column.name for column in observations.c),
            crowd=None,
        )

    @property
    def asks_words(self) -> bool:
        """Whether it matters what an observation says in words, and whether it is unusual."""
        return self.of_words is not None

    @property
    def dated(self) -> bool:
        """Whether it matters when a snapshot began."""
        return snapshots in self.tables

    def may_say(self, connection: Connection, channel: str | None, novelty: str | None, unusual: bool | None) -> bool:
        """Whether an observation that says this may matter; any database can tell."""
        if self.of_words is None:
            return True
        known = self._said.get((channel, novelty, unusual))
        if known is None:
            said = (literal(channel, Text), literal(novelty, Text), literal(unusual, Boolean))
            values = dict(zip(_WORDS, said, strict=True))

            def replaced(element: Any, **_: Any) -> Any:
                return values.get(element)

            condition = visitors.replacement_traverse(self.of_words, {}, replaced)
            known = bool(connection.scalar(select(true()).where(condition)))
            self._said[channel, novelty, unusual] = known
        return known


@dataclass(frozen=True, slots=True, kw_only=True)
class Least:
    """What the groups of a correlation come to at least that pass."""

    number: int
    distinct: bool
    """Of distinct values, and not of connects."""


def least(matcher: CorrelationMatcher) -> Least | None:
    """What passes at least; None: nothing is known of it."""
    correlation = matcher.correlation
    of_connects = correlation.type in ("event_count", "value_count")
    if not of_connects or not isinstance(correlation.passes, Bounds) or correlation.passes.least <= 1:
        return None
    return Least(number=correlation.passes.least, distinct=correlation.counted is not None)


def _crowd(matcher: CorrelationMatcher) -> Crowd | None:
    if (enough := least(matcher)) is None:
        return None
    counted = matcher.correlation.counted
    value = None if counted is None else counted.expression
    if value is not None and not _is_of_key(value):
        return None
    group = (each.expression for each in matcher.correlation.group_by)
    return Crowd(
        threshold=enough.number,
        timespan=matcher.timespan,
        group=tuple(each for each in group if _is_of_key(each)),
        value=value,
        sums=tuple(counted for counted, _ in matcher.wanted.matching.ways),
    )


def _is_of_key(expression: ColumnElement[Any]) -> bool:
    columns: set[Column[Any]] = columns_of(expression)
    return all(column.table is connection_keys for column in columns)
