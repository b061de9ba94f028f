"""The accounts in an alert."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, select

from detector.store import bulk
from detector.store.tables import alert_values

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FIELDS = ("user", "login_user")


def accounts_in(connection: Connection, alert_id: int) -> Mapping[str, frozenset[str]]:
    """The values of `FIELDS` among the rows of an alert, by field."""
    return accounts_of(connection, [alert_id]).get(alert_id, {field: frozenset() for field in FIELDS})


def accounts_of(connection: Connection, alert_ids: Sequence[int]) -> dict[int, Mapping[str, frozenset[str]]]:
    """The same of several alerts, by their numbers."""
    found: dict[int, dict[str, set[str]]] = {each: {field: set() for field in FIELDS} for each in alert_ids}
    columns = alert_values.c
    rows = connection.execute(
        select(columns.alert_id, columns.field, columns.value).where(
            bulk.among(connection, columns.alert_id, alert_ids), columns.field.in_(FIELDS)
        )
    )
    for alert_id, field, value in rows:
        found[alert_id][field].add(value)
    return {
        alert_id: {field: frozenset(values) for field, values in fields.items()} for alert_id, fields in found.items()
    }
