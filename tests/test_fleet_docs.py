"""docs/fleet.md says of every table where it goes on several servers, and only what its keys allow."""

from __future__ import annotations

import re
from pathlib import Path

from sqlalchemy import PrimaryKeyConstraint, UniqueConstraint

from detector.store.partitions import PARTED
from detector.store.tables import metadata

_PAGE = (Path(__file__).parents[1] / "docs" / "fleet.md").read_text(encoding="utf-8")
_DISTRIBUTED = set(re.findall(r"create_distributed_table\('(\w+)', 'host_id'", _PAGE))
_EVERYWHERE = set(re.findall(r"create_reference_table\('(\w+)'\)", _PAGE))


def test_every_table_has_its_place() -> None:
    """No table is forgotten, and none is named that is not there."""
    assert _DISTRIBUTED | _EVERYWHERE | {"replacements"} == set(metadata.tables)
    assert not _DISTRIBUTED & _EVERYWHERE


def test_what_is_distributed_can_be() -> None:
    """Every unique key of a distributed table has the host in it, and it refers to tables that are everywhere alone."""
    for name in _DISTRIBUTED:
        table = metadata.tables[name]
        for each in table.constraints:
            if isinstance(each, PrimaryKeyConstraint | UniqueConstraint):
                assert "host_id" in each.columns, name
        assert not any(index.unique for index in table.indexes), name
        for key in table.foreign_keys:
            assert key.column.table.name in _EVERYWHERE, name


def test_what_is_on_all_servers_refers_to_nothing_else() -> None:
    """A reference table cannot refer to a distributed one."""
    for name in _EVERYWHERE:
        for key in metadata.tables[name].foreign_keys:
            assert key.column.table.name in _EVERYWHERE, name


def test_keys_of_tables_in_parts_have_their_time() -> None:
    """As Postgres' own parts and hypertables ask for."""
    for parted in PARTED:
        for each in metadata.tables[parted.name].constraints:
            if isinstance(each, PrimaryKeyConstraint | UniqueConstraint):
                assert {"host_id", parted.column} <= set(each.columns.keys()), parted.name
