"""The state of subjects in blocks of eight, and a mark by which whoever remembers them knows of changes."""

import struct
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision: str = "0023"
down_revision: str | None = "0022"

BLOCK = 8
DIGEST_BYTES = 16
# When it was first met, and in how many hours it was active, before what was its state.
HEAD = struct.Struct("<dq")
PAGE = 5000
WITHOUT_ROWID = {"sqlite_with_rowid": False}
SUBJECTS = sa.table(
    "model_subjects", *map(sa.column, ("host_id", "subject", "kind", "first_seconds", "hours", "state", "number"))
)
BLOCKS = sa.table("model_blocks", *map(sa.column, ("host_id", "block", "kind", "places", "content")))
OF_SUBJECT = (
    SUBJECTS.c.host_id == sa.bindparam("of_host"),
    SUBJECTS.c.subject == sa.bindparam("of_subject"),
)


def upgrade() -> None:
    """Of each host, what was learnt stands together by kind."""
    op.add_column("model_hosts", sa.Column("mark", sa.LargeBinary(16)))
    op.create_table(
        "model_blocks",
        sa.Column("host_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("block", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(24), nullable=False),
        sa.Column("places", sa.Integer(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("host_id", "block", name=op.f("pk_model_blocks")),
    )
    op.add_column("model_subjects", sa.Column("number", sa.BigInteger(), nullable=True))
    connection = op.get_bind()
    block, host_id, waiting = 0, None, dict[tuple[str, int], list[Any]]()
    for row in _subjects():
        if row.host_id != host_id:
            for some in waiting.values():
                _store(connection, block, some)
                block += 1
            block, host_id, waiting = 0, row.host_id, {}
        of_kind = waiting.setdefault((row.kind, len(row.state)), [])
        of_kind.append(row)
        if len(of_kind) == BLOCK:
            _store(connection, block, of_kind)
            block += 1
            del waiting[row.kind, len(row.state)]
    for some in waiting.values():
        _store(connection, block, some)
        block += 1
    with op.batch_alter_table("model_subjects", table_kwargs=WITHOUT_ROWID) as table:
        table.alter_column("number", existing_type=sa.BigInteger(), nullable=False)
        for name in ("kind", "first_seconds", "hours", "state"):
            table.drop_column(name)


def downgrade() -> None:
    """Each subject by itself."""
    op.add_column("model_subjects", sa.Column("kind", sa.String(24), nullable=True))
    op.add_column("model_subjects", sa.Column("first_seconds", sa.Double(), nullable=True))
    op.add_column("model_subjects", sa.Column("hours", sa.BigInteger(), nullable=True))
    op.add_column("model_subjects", sa.Column("state", sa.LargeBinary(), nullable=True))
    connection, columns, place = op.get_bind(), BLOCKS.c, (-1, -1)
    written: dict[str, Any] = {
        name: sa.bindparam(f"new_{name}") for name in ("kind", "first_seconds", "hours", "state")
    }
    while rows := connection.execute(
        sa.select(BLOCKS)
        .where(sa.tuple_(columns.host_id, columns.block) > place)
        .order_by(columns.host_id, columns.block)
        .limit(PAGE)
    ).all():
        if values := [each for row in rows for each in _apart(row)]:
            connection.execute(sa.update(SUBJECTS).where(*OF_SUBJECT).values(written), values)
        place = (rows[-1].host_id, rows[-1].block)
    op.execute(sa.delete(SUBJECTS).where(SUBJECTS.c.state.is_(None)))
    with op.batch_alter_table("model_subjects", table_kwargs=WITHOUT_ROWID) as table:
        table.alter_column("kind", existing_type=sa.String(24), nullable=False)
        table.alter_column("first_seconds", existing_type=sa.Double(), nullable=False)
        table.alter_column("hours", existing_type=sa.BigInteger(), nullable=False)
        table.alter_column("state", existing_type=sa.LargeBinary(), nullable=False)
        table.drop_column("number")
    op.drop_table("model_blocks")
    with op.batch_alter_table("model_hosts") as table:
        table.drop_column("mark")


def _subjects() -> Iterator[Any]:
    connection, columns, place = op.get_bind(), SUBJECTS.c, (-1, b"")
    names = ("host_id", "subject", "kind", "first_seconds", "hours", "state")
    while rows := connection.execute(
        sa.select(*(columns[name] for name in names))
        .where(sa.tuple_(columns.host_id, columns.subject) > place)
        .order_by(columns.host_id, columns.subject)
        .limit(PAGE)
    ).all():
        yield from rows
        place = (rows[-1].host_id, rows[-1].subject)


def _store(connection: sa.Connection, block: int, rows: list[Any]) -> None:
    content = b"".join(bytes(row.subject) + HEAD.pack(row.first_seconds, row.hours) + bytes(row.state) for row in rows)
    host_id = rows[0].host_id
    place = {"host_id": host_id, "block": block, "kind": rows[0].kind}
    connection.execute(sa.insert(BLOCKS), place | {"places": len(rows), "content": content})
    connection.execute(
        sa.update(SUBJECTS).where(*OF_SUBJECT).values(number=sa.bindparam("new_number")),
        [
            {"of_host": host_id, "of_subject": row.subject, "new_number": block * BLOCK + number}
            for number, row in enumerate(rows)
        ],
    )


def _apart(row: Any) -> Iterator[dict[str, Any]]:
    content = bytes(row.content)
    size = len(content) // row.places
    for at in range(0, len(content), size):
        subject, state = content[at : at + DIGEST_BYTES], content[at + DIGEST_BYTES : at + size]
        if any(subject):
            first_seconds, hours = HEAD.unpack_from(state)
            yield {
                "of_host": row.host_id,
                "of_subject": subject,
                "new_kind": row.kind,
                "new_first_seconds": first_seconds,
                "new_hours": hours,
                "new_state": state[HEAD.size :],
            }
