"""Silences in force, and which alerts they mute."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Protocol

from sqlalchemy import Connection, select

from detector.matchers import Facts, Matcher, facts_of, from_stored, hold
from detector.store import bulk
from detector.store.tables import alert_silences, alert_values

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from detector.domain import Scalar, Severity

# SQLite accepts 32,766 bound parameters a statement, Postgres 65,535.
_ALERTS_PER_QUERY = 1000


class Muteable(Protocol):
    """What of an alert silences look at, beside its host and its rows."""

    @property
    def rule_id(self) -> str:
        """Its rule."""

    @property
    def rule_title(self) -> str:
        """The rule's title."""

    @property
    def severity(self) -> Severity:
        """How severe it is."""

    @property
    def group(self) -> Mapping[str, Scalar]:
        """What its rows have in common."""


def in_force(connection: Connection, now: datetime) -> list[tuple[int, tuple[Matcher, ...]]]:
    """The silences at a moment of data time, the oldest first: number and matchers.

    A host whose clock is wrong has them begin and end at another time, so that at worst something is told.
    """
    columns = alert_silences.c
    rows = connection.execute(
        select(columns.silence_id, columns.matchers)
        .where(columns.starts_at <= now, columns.ends_at > now)
        .order_by(columns.silence_id)
    )
    return [(row.silence_id, from_stored(row.matchers)) for row in rows]


def muted(connection: Connection, host: str, now: datetime, states: Mapping[int, Muteable]) -> dict[int, int]:
    """Which of a host's alerts silences mute now: the first silence of each, by the alert's number."""
    if not states:
        return {}
    silences = in_force(connection, now)
    if not silences:
        return {}
    result: dict[int, int] = {}
    for alert_id, facts in _facts(connection, host, states):
        for silence_id, matchers in silences:
            if hold(matchers, facts):
                result[alert_id] = silence_id
                break
    return result


def values_of(connection: Connection, alert_ids: Sequence[int]) -> dict[int, dict[str, set[str]]]:
    """What differs among the rows of alerts, by alert and field."""
    result: dict[int, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for start in range(0, len(alert_ids), _ALERTS_PER_QUERY):
        some = alert_ids[start : start + _ALERTS_PER_QUERY]
        columns = alert_values.c
        for alert_id, field, value in connection.execute(
            select(columns.alert_id, columns.field, columns.value).where(bulk.among(connection, columns.alert_id, some))
        ):
            result[alert_id][field].add(value)
    return result


def _facts(connection: Connection, host: str, states: Mapping[int, Muteable]) -> Iterator[tuple[int, Facts]]:
    values = values_of(connection, list(states))
    for alert_id, state in states.items():
        yield (
            alert_id,
            facts_of(
                host=host,
                rule=(state.rule_id, state.rule_title),
                severity=state.severity,
                group=state.group,
                values=values.get(alert_id, {}),
            ),
        )
