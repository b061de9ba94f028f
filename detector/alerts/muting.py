"""Silences in force, and which alerts they mute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from sqlalchemy import Connection, select

from detector.alerts.values import all_of
from detector.matchers import Facts, Matcher, facts_of, from_stored, hold
from detector.store.tables import alert_silences

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from detector.alerts.values import Common, Several
    from detector.domain import Scalar, Severity


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
        """What its rows have in common, by its rule."""

    @property
    def common(self) -> Common:
        """What its rows agree in."""


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


def muted(
    connection: Connection,
    host: str,
    now: datetime,
    states: Mapping[int, Muteable],
    unwritten: Mapping[int, Several] | None = None,
) -> dict[int, int]:
    """Which of a host's alerts silences mute now: the first silence of each, by the alert's number.

    Args:
        unwritten: the values in which rows differ, of alerts of which they are not written yet.
    """
    if not states:
        return {}
    silences = in_force(connection, now)
    if not silences:
        return {}
    result: dict[int, int] = {}
    for alert_id, facts in _facts(connection, host, states, unwritten):
        for silence_id, matchers in silences:
            if hold(matchers, facts):
                result[alert_id] = silence_id
                break
    return result


def _facts(
    connection: Connection, host: str, states: Mapping[int, Muteable], unwritten: Mapping[int, Several] | None
) -> Iterator[tuple[int, Facts]]:
    common = {alert_id: state.common for alert_id, state in states.items()}
    values = all_of(connection, common, unwritten=unwritten)
    for alert_id, state in states.items():
        yield (
            alert_id,
            facts_of(
                host=host,
                rule=(state.rule_id, state.rule_title),
                severity=state.severity,
                group=state.group,
                values=values[alert_id],
            ),
        )
