"""Counts in columns that are packed together, roll-ups by hour and day, and parts by time."""

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from detector.domain import Observation

# What is packed says how it was: what this writes can be read later, and the other way round.
from detector.store.packing import pack_counts, unpack_counts
from detector.store.packing_observations import pack_observations, unpack_observations

revision: str = "0005"
down_revision: str | None = "0004"

# Microseconds since 1970 where there is no type for a moment in time.
MOMENT = sa.BigInteger().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")
AT_ONCE = 100
PLACE = ("host_id", "seq", "key_id", "session")
OUTCOMES = ("attempted", "established", "refused", "timed_out", "failed")
NUMBERS = (*OUTCOMES, "handshake_us_total", "handshake_us_max")
SAID = ("score", "surprise", "channel", "novelty", "p_novelty", "p_volume", "p_forest", "explanation")
TEXTS = frozenset({"channel", "novelty", "explanation"})


def upgrade() -> None:
    """Packs the rows that are there. Those that rules look at are unpacked again by detection."""
    _create_packed()
    _pack()
    op.drop_table("observations")
    op.drop_table("connection_counts")
    with op.batch_alter_table("findings", table_kwargs={"sqlite_with_rowid": False}) as findings:
        findings.drop_constraint("fk_findings_host_id_seq", type_="foreignkey")
    _copy_snapshots("host_id", "seq", "end", parted='RANGE ("end")')
    op.create_index(op.f("ix_snapshots_host_id_end"), "snapshots", ["host_id", "end"], unique=False)
    op.create_index(op.f("ix_snapshots_host_id_mark"), "snapshots", ["host_id", "mark"], unique=False)
    _create_rows()
    _create_rolled_up("hourly_counts")
    _create_rolled_up("daily_counts")
    for name in ("remote_address", "first_seen"):
        op.create_index(op.f(f"ix_connection_keys_host_id_{name}"), "connection_keys", ["host_id", name], unique=False)
    op.add_column("hosts", sa.Column("expiries", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("detection_cursors", sa.Column("recent_seq", sa.BigInteger(), server_default="1", nullable=False))
    op.add_column("detection_cursors", sa.Column("rolled_seq", sa.BigInteger(), server_default="0", nullable=False))
    op.execute("UPDATE detection_cursors SET recent_seq = seq + 1")


def downgrade() -> None:
    """Unpacks all rows; roll-ups are gone."""
    for name in ("rolled_seq", "recent_seq"):
        op.drop_column("detection_cursors", name)
    op.drop_column("hosts", "expiries")
    for name in ("remote_address", "first_seen"):
        op.drop_index(op.f(f"ix_connection_keys_host_id_{name}"), "connection_keys")
    for name in ("daily_counts", "hourly_counts", "observations", "connection_counts"):
        op.drop_table(name)
    _copy_snapshots("host_id", "seq", parted=None)
    op.create_index(op.f("ix_snapshots_host_id_end"), "snapshots", ["host_id", "end"], unique=False)
    op.create_index(op.f("ix_snapshots_host_id_mark"), "snapshots", ["host_id", "mark"], unique=True)
    # Of snapshots that have expired.
    op.execute(
        "DELETE FROM findings WHERE NOT EXISTS"
        " (SELECT 1 FROM snapshots s WHERE s.host_id = findings.host_id AND s.seq = findings.seq)"
    )
    with op.batch_alter_table("findings", table_kwargs={"sqlite_with_rowid": False}) as findings:
        findings.create_foreign_key("fk_findings_host_id_seq", "snapshots", ["host_id", "seq"], ["host_id", "seq"])
    _create_rows(
        sa.ForeignKeyConstraint(
            ["host_id", "key_id"],
            ["connection_keys.host_id", "connection_keys.key_id"],
            name=op.f("fk_connection_counts_host_id_key_id"),
        ),
        sa.ForeignKeyConstraint(
            ["host_id", "seq"], ["snapshots.host_id", "snapshots.seq"], name=op.f("fk_connection_counts_host_id_seq")
        ),
    )
    _unpack()
    op.drop_table("packed_observations")
    op.drop_table("packed_counts")


def _create_packed() -> None:
    rows = sa.Column("rows", sa.Integer(), nullable=False)
    for name, more in (("packed_counts", [rows]), ("packed_observations", [])):
        op.create_table(
            name,
            sa.Column("host_id", sa.Integer(), autoincrement=False, nullable=False),
            sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
            sa.Column("end", MOMENT, autoincrement=False, nullable=False),
            *more,
            sa.Column("content", sa.LargeBinary(), nullable=False),
            sa.PrimaryKeyConstraint("host_id", "seq", "end", name=op.f(f"pk_{name}")),
            postgresql_partition_by='RANGE ("end")',
        )
        _create_rest(name)


def _create_rest(name: str) -> None:
    """The part for whatever has none of its own."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"CREATE TABLE {name}_rest PARTITION OF {name} DEFAULT")


def _copy_snapshots(*key: str, parted: str | None) -> None:
    """Makes the table anew, with another key."""
    connection = op.get_bind()
    columns = [
        sa.Column(
            column["name"],
            # The time is SQLite's integer, or Postgres' own type.
            MOMENT if column["name"] in {"start", "end", "blind_since"} else column["type"],
            nullable=column["nullable"],
            server_default=None if column["default"] is None else sa.text(column["default"]),
            autoincrement=False,
        )
        for column in sa.inspect(connection).get_columns("snapshots")
    ]
    op.execute("CREATE TABLE snapshots_before AS SELECT * FROM snapshots")
    op.drop_table("snapshots")
    op.create_table(
        "snapshots",
        *columns,
        sa.ForeignKeyConstraint(["host_id"], ["hosts.host_id"], name=op.f("fk_snapshots_host_id")),
        sa.PrimaryKeyConstraint(*key, name=op.f("pk_snapshots")),
        sqlite_with_rowid=False,
        postgresql_partition_by=parted,
    )
    if parted:
        _create_rest("snapshots")
    names = ", ".join(f'"{column.name}"' for column in columns)
    op.execute(f"INSERT INTO snapshots ({names}) SELECT {names} FROM snapshots_before")
    op.drop_table("snapshots_before")


def _create_rows(*constraints: sa.ForeignKeyConstraint) -> None:
    """The tables of single rows."""
    op.create_table(
        "connection_counts",
        *_place_columns(),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in NUMBERS),
        sa.Column("origin_id", sa.BigInteger(), nullable=True),
        sa.Column("name_id", sa.BigInteger(), nullable=True),
        *constraints,
        sa.PrimaryKeyConstraint(*PLACE, name=op.f("pk_connection_counts")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "observations",
        *_place_columns(),
        *(sa.Column(name, sa.Text() if name in TEXTS else sa.Double()) for name in SAID),
        sa.PrimaryKeyConstraint(*PLACE, name=op.f("pk_observations")),
        sqlite_with_rowid=False,
    )


def _place_columns() -> Iterator[sa.Column[int]]:
    yield sa.Column("host_id", sa.Integer(), autoincrement=False, nullable=False)
    for name in PLACE[1:]:
        yield sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=False)


def _create_rolled_up(name: str) -> None:
    op.create_table(
        name,
        sa.Column("host_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("key_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("start", MOMENT, autoincrement=False, nullable=False),
        sa.Column("origin_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("name_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("snapshots", sa.Integer(), nullable=False),
        *(sa.Column(number, sa.BigInteger(), nullable=False) for number in NUMBERS),
        sa.Column("first_seen", MOMENT, nullable=False),
        sa.Column("last_seen", MOMENT, nullable=False),
        sa.Column("peak_score", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("host_id", "key_id", "start", "origin_id", "name_id", name=op.f(f"pk_{name}")),
        sqlite_with_rowid=False,
        postgresql_partition_by='RANGE ("start")',
    )
    _create_rest(name)


def _pack() -> None:
    """A few snapshots at a time: no more than that is in memory."""
    connection = op.get_bind()
    counts, observations, ends = _table("connection_counts"), _table("observations"), _ends()
    packed_counts, packed_observations = _table("packed_counts"), _table("packed_observations")
    for some in _some(ends):
        of = {"host_id": some[0].host_id, "first": some[0].seq, "last": some[-1].seq}
        said = {_place(row): row for row in _rows(observations, of)}
        rows = {seq: list(group) for seq, group in groupby(_rows(counts, of), lambda row: row["seq"])}
        for each in some:
            of_snapshot = rows.get(each.seq)
            if not of_snapshot:
                continue
            place = {"host_id": each.host_id, "seq": each.seq, "end": each.end}
            content = pack_counts(of_snapshot)
            connection.execute(packed_counts.insert(), place | {"rows": len(of_snapshot), "content": content})
            observed = pack_observations([_observation(row, said.get(_place(row), {})) for row in of_snapshot])
            if observed is not None:
                connection.execute(packed_observations.insert(), place | {"content": observed})


def _unpack() -> None:
    connection = op.get_bind()
    counts, observations = _table("connection_counts"), _table("observations")
    packed_counts, packed_observations = _table("packed_counts"), _table("packed_observations")
    for some in _some(_ends()):
        of = {"host_id": some[0].host_id, "first": some[0].seq, "last": some[-1].seq}
        said = {row["seq"]: unpack_observations(row["content"]) for row in _rows(packed_observations, of)}
        for row in _rows(packed_counts, of):
            columns = unpack_counts(row["content"])
            rows = [
                {"host_id": row["host_id"], "seq": row["seq"]} | dict(zip(columns, values, strict=True))
                for values in zip(*columns.values(), strict=True)
            ]
            for each in rows:
                each |= {name: each[name] or None for name in ("origin_id", "name_id")}
            if not rows:
                continue
            connection.execute(counts.insert(), rows)
            observed = said.get(row["seq"])
            if observed is not None:
                placed = [{name: each[name] for name in PLACE} | observed.row(at) for at, each in enumerate(rows)]
                connection.execute(observations.insert(), placed)


def _table(name: str) -> sa.Table:
    return sa.Table(name, sa.MetaData(), autoload_with=op.get_bind())


def _ends() -> list[sa.Row[Any]]:
    snapshots = _table("snapshots").c
    return list(
        op.get_bind().execute(
            sa.select(snapshots.host_id, snapshots.seq, snapshots.end).order_by(snapshots.host_id, snapshots.seq)
        )
    )


def _some(ends: list[sa.Row[Any]]) -> Iterator[list[sa.Row[Any]]]:
    for _, of_host in groupby(ends, lambda end: end.host_id):
        all_of_it = list(of_host)
        for start in range(0, len(all_of_it), AT_ONCE):
            yield all_of_it[start : start + AT_ONCE]


def _rows(table: sa.Table, of: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    columns = table.c
    statement = table.select().where(columns.host_id == of["host_id"], columns.seq.between(of["first"], of["last"]))
    for row in op.get_bind().execute(statement.order_by(*table.primary_key)).mappings():
        yield {str(name): value for name, value in row.items()}


def _place(row: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(row[name] for name in PLACE[1:])


def _observation(row: Mapping[str, Any], said: Mapping[str, Any]) -> Observation:
    return Observation(key_id=row["key_id"], session=row["session"], **{name: said.get(name) for name in SAID})
