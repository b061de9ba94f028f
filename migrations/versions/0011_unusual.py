"""Whether an observation is unusual by the threshold that was in force."""

import json
import struct
import zlib

import sqlalchemy as sa
from alembic import op

revision: str = "0011"
down_revision: str | None = "0010"

AT_ONCE = 100
HEAD_BYTES = 5


def upgrade() -> None:
    """Of what was observed before, it is not known."""
    op.add_column("observations", sa.Column("unusual", sa.Boolean(), nullable=True))


def downgrade() -> None:
    """What is packed loses it as well: it could not be read."""
    with op.batch_alter_table("observations", table_kwargs={"sqlite_with_rowid": False}) as observations:
        observations.drop_column("unusual")
    _strip()


def _strip() -> None:
    connection = op.get_bind()
    packed = sa.table("packed_observations", *map(sa.column, ("host_id", "seq", "content")))
    columns, place = packed.c, (packed.c.host_id, packed.c.seq)
    after = (-1, -1)
    page = sa.select(*place, columns.content).order_by(*place).limit(AT_ONCE)
    while rows := connection.execute(page.where(sa.tuple_(*place) > sa.tuple_(*after))).all():
        for row in rows:
            content = _stripped(bytes(row.content))
            this = (columns.host_id == row.host_id) & (columns.seq == row.seq)
            connection.execute(sa.update(packed).where(this).values(content=content))
        after = (rows[-1].host_id, rows[-1].seq)


def _stripped(content: bytes) -> bytes:
    """What is packed, without the rows that are unusual; as it is if it cannot be read."""
    try:
        body = zlib.decompress(content[HEAD_BYTES:])
        length = struct.unpack_from("<I", body)[0]
        said = json.dumps(json.loads(body[4 : 4 + length])[:2]).encode()
    except (zlib.error, struct.error, ValueError, TypeError):
        return content
    body = struct.pack("<I", len(said)) + said + body[4 + length :]
    return content[:HEAD_BYTES] + zlib.compress(body)
