"""What a stored row is made of: a count, its key, where the login came from, what the destination is called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import and_

from detector.store.tables import connection_counts, connection_keys, destination_names, login_origins

if TYPE_CHECKING:
    from sqlalchemy import Select

ORIGIN_FIELDS = ("login_address", "login_source")
NAME_FIELDS = ("remote_name", "remote_name_source", "remote_country", "remote_network")

ROW_COLUMNS = (
    *(column for column in connection_counts.c if column.name not in {"origin_id", "name_id"}),
    *(column for column in connection_keys.c if column.name not in {"host_id", "key_id", "digest", "last_seen"}),
    *(login_origins.c[name] for name in ORIGIN_FIELDS),
    *(destination_names.c[name] for name in NAME_FIELDS),
)
"""The columns of a statement that went through `with_names`."""


def with_names(statement: Select[Any]) -> Select[Any]:
    """`statement`, which selects from counts, joined with what their numbers stand for."""
    counts, keys, origins, names = (
        table.c for table in (connection_counts, connection_keys, login_origins, destination_names)
    )
    return (
        statement.join(connection_keys, and_(keys.host_id == counts.host_id, keys.key_id == counts.key_id))
        .outerjoin(login_origins, and_(origins.host_id == counts.host_id, origins.origin_id == counts.origin_id))
        .outerjoin(destination_names, and_(names.host_id == counts.host_id, names.name_id == counts.name_id))
    )
