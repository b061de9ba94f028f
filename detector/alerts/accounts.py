"""The accounts in an alert."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, select

from detector.store.tables import alert_values

if TYPE_CHECKING:
    from collections.abc import Mapping

FIELDS = ("user", "login_user")


def accounts_in(connection: Connection, alert_id: int) -> Mapping[str, frozenset[str]]:
    """The values of `FIELDS` among the rows of an alert, by field."""
    found: dict[str, set[str]] = {field: set() for field in FIELDS}
    columns = alert_values.c
    rows = connection.execute(
        select(columns.field, columns.value).where(columns.alert_id == alert_id, columns.field.in_(FIELDS))
    )
    for field, value in rows:
        found[field].add(value)
    return {field: frozenset(values) for field, values in found.items()}
