"""`detector db status`: how large the database is, what is in it, and what becomes of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from detector.amounts import megabytes, numbered
from detector.cli import terminal
from detector.cli.tables import Column, print_table
from detector.cli.terminal import local, say

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from detector.config import Settings
    from detector.store.retention import Kept
    from detector.store.sizes import Size
    from detector.store.status import HostStatus, TableStatus

_LONG = timedelta(days=3650)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, times in UTC and sizes in bytes.")
@click.pass_obj
def status(settings: Settings, /, *, as_json: bool) -> None:
    """Say how large the database is, what is in it, and when what expires.

    Looks, and changes nothing.

    \b
    Examples:
      detector db status
      detector db status --json | jq '.hosts[] | {host, not_seen}'
    """
    if as_json:
        terminal.print_json(described(settings))
        return
    found = _measured(settings)
    say(f"{found.where}, schema {found.schema}")
    size, kept, hosts = found.size, found.kept, found.hosts
    for line in (*_size_lines(size, kept), *_growth_lines(hosts, size, kept), *_age_lines(hosts, kept)):
        say(line)
    say("")
    _print_hosts(hosts)
    say("")
    _print_tables(found.tables)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measured:
    where: str
    schema: str
    size: Size
    kept: Kept
    hosts: Sequence[HostStatus]
    tables: Sequence[TableStatus]


def _measured(settings: Settings) -> _Measured:
    from detector.service.keeping import kept_from
    from detector.store import sizes
    from detector.store.engine import open_store, place, reading
    from detector.store.migrating import check_current, revisions
    from detector.store.status import host_status, table_status

    engine = open_store(settings.database_url)
    try:
        check_current(engine)
        size, kept = sizes.measure(engine), kept_from(settings, engine)
        with reading(engine) as connection:
            hosts, tables = host_status(connection), table_status(connection)
    finally:
        engine.dispose()
    return _Measured(where=place(engine), schema=revisions()[-1], size=size, kept=kept, hosts=hosts, tables=tables)


def described(settings: Settings) -> dict[str, Any]:
    """All of it as `--json` prints it: times, and sizes in bytes.

    Raises:
        StoreError: the database is away, missing, or of another version.
    """
    found = _measured(settings)
    retention = {name: value.days for name, value in _ages(found.kept).items()} | {"most_bytes": found.kept.most_bytes}
    return {
        "database": found.where,
        "schema": found.schema,
        "size": asdict(found.size) | {"free": found.size.free},
        "retention_days": retention,
        "hosts": [asdict(host) for host in found.hosts],
        "tables": [asdict(table) for table in found.tables],
    }


def _ages(kept: Kept) -> dict[str, timedelta]:
    return {"snapshots": kept.snapshots, "hours": kept.hours, "days": kept.days, "alerts": kept.alerts}


def _size_lines(size: Size, kept: Kept) -> Iterator[str]:
    most = f" of at most {megabytes(kept.most_bytes)}" if kept.most_bytes else ""
    log = f"; its log {megabytes(size.log)}" if size.log else ""
    yield f"size: {megabytes(size.on_disk)}{most}, of which {megabytes(max(size.free, 0))} are free{log}"
    if not size.shrinks:
        yield "the file never becomes smaller: it was made by an older version; run once: detector db vacuum"


def _growth_lines(hosts: Sequence[HostStatus], size: Size, kept: Kept) -> Iterator[str]:
    growth = sum(host.bytes_per_day for host in hosts)
    yield f"growth: about {megabytes(growth)} a day"
    if not kept.most_bytes or not growth:
        return
    if size.used >= kept.enough:
        yield "it is as large as it may be: the oldest goes, however young it is"
    elif (left := (kept.begins_at - size.used) / growth) < kept.snapshots.days:
        yield f"at this pace it is as large as it may be in {left:.1f} days; then the oldest goes"


def _age_lines(hosts: Sequence[HostStatus], kept: Kept) -> Iterator[str]:
    ages = ", ".join(f"{name} {age.days} days" for name, age in _ages(kept).items())
    oldest = min((host.oldest for host in hosts if host.oldest is not None), default=None)
    next_one = f"; the oldest snapshot goes {local(oldest + kept.snapshots)}" if oldest else ""
    yield f"kept: {ages}{next_one}"


def _print_hosts(hosts: Sequence[HostStatus]) -> None:
    columns = [
        Column("host", fold=True),
        Column("snapshots", "right"),
        Column("oldest"),
        Column("newest"),
        Column("not seen", "right"),
        Column("not added up", "right"),
        Column("given up", "right"),
        Column("a day", "right"),
    ]
    rows = [
        (
            host.host,
            f"{host.snapshots:,}",
            local(host.oldest) if host.oldest else "",
            local(host.newest) if host.newest else "",
            f"{host.not_seen:,}",
            f"{host.not_added_up:,}",
            f"{host.given_up:,}",
            megabytes(host.bytes_per_day),
        )
        for host in hosts
    ]
    print_table(columns, rows)


def _print_tables(tables: Sequence[TableStatus]) -> None:
    columns: list[Any] = [Column("table"), Column("rows", "right")]
    parted = any(table.parts is not None for table in tables)
    if parted:
        columns.append(Column("parts"))
    rows = []
    for table in tables:
        row = [table.table, f"{table.rows:,}"]
        if parted:
            until = f" until {table.last_part:%Y-%m-%d}" if table.last_part else ""
            row.append("" if table.parts is None else f"{numbered(table.parts, 'part')}{until}, and the rest")
        rows.append(row)
    print_table(columns, rows)
