"""The names of people and machines that are stored: what is not to leave this site."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from detector.store.tables import alert_silences, connection_keys, destination_names, hosts

if TYPE_CHECKING:
    from sqlalchemy import Connection

# Of each kind; names beyond it were made up by whoever made so many.
_MOST = 20_000


def stored_names(connection: Connection) -> dict[str, set[str]]:
    """By kind ("host", "user"): hosts, destinations, accounts, who logged in, and who wrote silences."""
    keys = connection_keys.c
    places = {
        "host": (hosts.c.host, destination_names.c.remote_name),
        "user": (keys.user, keys.login_user, alert_silences.c.author),
    }
    return {
        kind: {
            name for column in columns for name in connection.scalars(select(column).distinct().limit(_MOST)) if name
        }
        for kind, columns in places.items()
    }
