"""More that the models learn of a subject, as one packed state, and a probability for each channel."""

import struct
from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision: str = "0018"
down_revision: str | None = "0017"

CHANNELS = ("actor", "host_volume", "failures", "fan_out", "port_sweep", "beacon", "hour", "evidence")
WIDE = (
    *("last_hour", "surprise", "surprise_seconds", "weight"),
    *("mean", "hour_mean", "recent", "recent_seconds"),
)
NEWNESS = ("surprise", "surprise_seconds", "last_seconds", "flagged")
VOLUME = ("weight", "mean", "hour_mean", "recent", "recent_seconds", "unknown")
# What of a kind is packed, as doubles after the last hour. A name that is not in WIDE had no column: it begins at 0.
LAYOUT = {
    "pair": (*NEWNESS, *VOLUME, "bins", "last_bin", "interval", "interval_spread", "intervals"),
    "destination": (*NEWNESS, *(f"unknown_{number}" for number in range(11))),
    "port": tuple(f"unknown_{number}" for number in range(7)),
    "host": (*VOLUME, "failed", "ended"),
    "executable": NEWNESS,
    "user": NEWNESS,
}
NEW_KINDS = (
    *("traffic", "population", "habit", "found", "user_week_hour"),
    *("user_port", "user_destination", "executable_network", "executable_destination"),
)
PAGE = 5000
WITHOUT_ROWID = {"sqlite_with_rowid": False}
SUBJECTS = sa.table(
    "model_subjects",
    sa.column("host_id"),
    sa.column("subject"),
    sa.column("kind"),
    sa.column("state"),
    *map(sa.column, WIDE),
)


def upgrade() -> None:
    """What was learnt is packed; what could not be learnt before begins at nothing."""
    op.add_column("model_hosts", sa.Column("admitted_hour", sa.BigInteger(), nullable=False, server_default="-1"))
    for channel in CHANNELS:
        op.add_column("observations", sa.Column(f"p_{channel}", sa.Double(), nullable=True))
    op.add_column("model_subjects", sa.Column("state", sa.LargeBinary(), nullable=True))
    _rewrite(WIDE, ("state",), _packed)
    with op.batch_alter_table("model_subjects", table_kwargs=WITHOUT_ROWID) as table:
        table.alter_column("state", nullable=False)
        for name in WIDE:
            table.drop_column(name)


def downgrade() -> None:
    """What could not be learnt before is forgotten."""
    op.execute(sa.delete(SUBJECTS).where(SUBJECTS.c.kind.in_(NEW_KINDS)))
    for name in WIDE:
        op.add_column("model_subjects", sa.Column(name, _kind(name), nullable=True))
    _rewrite(("state",), WIDE, _unpacked)
    with op.batch_alter_table("model_subjects", table_kwargs=WITHOUT_ROWID) as table:
        for name in WIDE:
            table.alter_column(name, nullable=False)
        table.drop_column("state")
    with op.batch_alter_table("observations", table_kwargs=WITHOUT_ROWID) as table:
        for channel in CHANNELS:
            table.drop_column(f"p_{channel}")
    with op.batch_alter_table("model_hosts") as table:
        table.drop_column("admitted_hour")


def _kind(name: str) -> sa.types.TypeEngine[Any]:
    return sa.BigInteger() if name == "last_hour" else sa.Double()


def _rewrite(read: Sequence[str], written: Sequence[str], rewritten: Callable[[Any], dict[str, Any]]) -> None:
    connection = op.get_bind()
    columns = SUBJECTS.c
    place = (-1, b"")
    query = sa.select(columns.host_id, columns.subject, columns.kind, *(columns[name] for name in read))
    while rows := connection.execute(
        query.where(sa.tuple_(columns.host_id, columns.subject) > place)
        .order_by(columns.host_id, columns.subject)
        .limit(PAGE)
    ).all():
        values = [rewritten(row) | {"of_host": row.host_id, "of_subject": row.subject} for row in rows]
        connection.execute(
            sa.update(SUBJECTS)
            .where(columns.host_id == sa.bindparam("of_host"), columns.subject == sa.bindparam("of_subject"))
            .values({name: sa.bindparam(f"new_{name}") for name in written}),
            values,
        )
        place = (rows[-1].host_id, rows[-1].subject)


def _packed(row: Any) -> dict[str, Any]:
    names = LAYOUT.get(row.kind, ())
    known = {name: getattr(row, name) for name in WIDE}
    known["last_seconds"] = row.recent_seconds
    values = [float(known.get(name, 0.0)) for name in names]
    return {"new_state": struct.pack(f"<q{len(names)}d", row.last_hour, *values)}


def _unpacked(row: Any) -> dict[str, Any]:
    names = LAYOUT.get(row.kind, ())
    last_hour, *values = struct.unpack_from(f"<q{len(names)}d", row.state)
    known = dict(zip(names, values, strict=True)) | {"last_hour": last_hour}
    return {f"new_{name}": known.get(name, 0.0) for name in WIDE}
