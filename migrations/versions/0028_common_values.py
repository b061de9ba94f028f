"""What an alert's rows have in common stands with the alert; a row for each value is left where they differ."""

from itertools import groupby

import sqlalchemy as sa
from alembic import op

revision: str = "0028"
down_revision: str | None = "0027"

AT_ONCE = 1000

alerts = sa.table("alerts", sa.column("alert_id", sa.BigInteger), sa.column("common", sa.JSON))
values = sa.table(
    "alert_values",
    sa.column("alert_id", sa.BigInteger),
    sa.column("field", sa.String),
    sa.column("value", sa.Text),
)


def upgrade() -> None:
    """The fields of which one value is known move; of the others the alert says that they differ."""
    op.add_column("alerts", sa.Column("common", sa.JSON(), nullable=False, server_default="{}"))
    connection = op.get_bind()
    fields = (values.c.alert_id, values.c.field)
    sole = sa.case((sa.func.count() == 1, sa.func.min(values.c.value)))
    found = connection.execute(sa.select(*fields, sole).group_by(*fields).order_by(*fields)).all()
    change = sa.update(alerts).where(alerts.c.alert_id == sa.bindparam("number")).values(common=sa.bindparam("new"))
    new = [
        {"number": alert_id, "new": {field: value for _, field, value in rows}}
        for alert_id, rows in groupby(found, key=lambda row: row[0])
    ]
    for first in range(0, len(new), AT_ONCE):
        connection.execute(change, new[first : first + AT_ONCE])
    moved = sa.select(*fields).group_by(*fields).having(sa.func.count() == 1)
    connection.execute(sa.delete(values).where(sa.tuple_(*fields).in_(moved)))


def downgrade() -> None:
    """An older version knows rows alone."""
    connection = op.get_bind()
    last = 0
    while found := connection.execute(
        sa.select(alerts).where(alerts.c.alert_id > last).order_by(alerts.c.alert_id).limit(AT_ONCE)
    ).all():
        last = found[-1].alert_id
        rows = [
            {"alert_id": alert_id, "field": field, "value": value}
            for alert_id, common in found
            for field, value in common.items()
            if value is not None
        ]
        if rows:
            connection.execute(sa.insert(values), rows)
    op.drop_column("alerts", "common")
