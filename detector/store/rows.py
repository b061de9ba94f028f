"""What a stored row is made of: a count, its key, where the login came from, what the destination is called."""

from __future__ import annotations

from detector.store.tables import connection_counts, connection_keys

ORIGIN_FIELDS = ("login_address", "login_source")
NAME_FIELDS = ("remote_name", "remote_name_source", "remote_country", "remote_network")
COUNT_FIELDS = tuple(column.name for column in connection_counts.c if column.name not in {"origin_id", "name_id"})
KEY_COLUMNS = tuple(
    column for column in connection_keys.c if column.name not in {"host_id", "key_id", "digest", "last_seen"}
)
