"""The accounts in an alert."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from detector.alerts.values import all_of
from detector.store.tables import alerts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

    from detector.alerts.values import Common, Several

    Accounts = Mapping[str, frozenset[str]]
    """By field of FIELDS its values."""

FIELDS = ("user", "login_user")


def accounts_in(connection: Connection, alert_id: int) -> Accounts:
    """The values of `FIELDS` among the rows of an alert, by field."""
    common = connection.scalar(select(alerts.c.common).where(alerts.c.alert_id == alert_id))
    return accounts_of(connection, {alert_id: common or {}})[alert_id]


def accounts_of(
    connection: Connection, common: Mapping[int, Common], unwritten: Mapping[int, Several] | None = None
) -> dict[int, Accounts]:
    """The same of several alerts, by their numbers.

    Args:
        common: what the rows of each agree in.
        unwritten: the values in which rows differ, of alerts of which they are not written yet.
    """
    found = all_of(connection, common, unwritten=unwritten, fields=FIELDS)
    return {
        alert_id: {field: frozenset(values.get(field, ())) for field in FIELDS} for alert_id, values in found.items()
    }
