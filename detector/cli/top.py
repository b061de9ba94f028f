"""`detector top`: who connects where, as snapshots come."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from detector.amounts import numbered
from detector.cli import live_view
from detector.cli.criteria import filter_options, wanted_by
from detector.cli.groups import SUM_NAMES, Fields, group_table, sort_rows
from detector.cli.parameters import LIMIT, Span
from detector.cli.tables import fitting_table, print_table
from detector.cli.terminal import local, print_json, say
from detector.visible import visible

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from rich.console import RenderableType
    from sqlalchemy import Engine

    from detector.config import Settings
    from detector.store.filters import HistoryFilter
    from detector.store.live import Newest

_DEFAULT_BY = ("login_user", "user", "executable", "remote_address", "port")
_MOST_HOSTS = 3


@click.command()
@filter_options("--to", period=False)
@click.option("--over", type=Span(), default="60s", show_default=True, help="How far back, from the newest snapshot.")
@click.option("--by", type=Fields(), help="What a line is for. Default: login user, user, executable, address, port.")
@click.option("--sort", metavar="NAME[:asc|:desc]", help="The order. Default: the most attempted first.")
@click.option("--limit", type=LIMIT, default=30, show_default=True, help="The most lines.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object of what is shown now, times in UTC; then it ends.")
@click.pass_obj
def top(
    settings: Settings,
    /,
    *,
    over: timedelta,
    by: tuple[str, ...] | None,
    sort: str | None,
    limit: int,
    as_json: bool,
    **criteria: Any,
) -> None:
    """Watch who connects where: the view is drawn anew with each snapshot that is stored. Ctrl-C ends it.

    Where standard output is no terminal, what is shown now is printed once.

    \b
    Examples:
      detector top
      detector top --over 10m --by login_user,destination
      detector top --outcome refused --by destination,port
      detector top --user 'www-*' --sort destinations
      detector top --json
    """
    from detector.store.engine import open_store
    from detector.store.migrating import check_current

    fields = by or _DEFAULT_BY
    engine = open_store(settings.database_url)
    try:
        check_current(engine)
        view = _View(engine, wanted_by(criteria), over, fields, sort, limit)
        view.look()
        if as_json:
            print_json(view.as_object())
        elif sys.stdout.isatty():
            live_view.watch(view)
        else:
            view.print()
    finally:
        engine.dispose()


class _View:
    """What is shown."""

    def __init__(
        self,
        engine: Engine,
        wanted: HistoryFilter,
        over: timedelta,
        by: Sequence[str],
        sort: str | None,
        limit: int,
    ) -> None:
        self._engine, self._wanted, self._over = engine, wanted, over
        self._by, self._sort, self._limit = by, sort, limit
        self._hosts: Mapping[str, Newest] | None = None
        self._rows: list[Mapping[str, Any]] = []

    def look(self) -> bool:
        """Looks whether there are new snapshots, and at them.

        Raises:
            StoreError: the database is away.
        """
        from detector.store.engine import reading
        from detector.store.live import lately, newest

        with reading(self._engine) as connection:
            hosts = newest(connection, self._wanted.host)
            if hosts == self._hosts:
                return False
            groups = lately(connection, self._wanted, hosts, self._over, self._by)
        self._hosts = hosts
        self._rows = [group.as_row() for group in groups]
        sort_rows(self._rows, self._by, SUM_NAMES, self._sort)
        return True

    def head(self) -> str:
        """Which snapshots are shown."""
        hosts = sorted((self._hosts or {}).items(), key=lambda each: each[1].end)
        if not hosts:
            return "no snapshots yet"
        named = ", ".join(f"{name} until {local(each.end)}" for name, each in hosts[-_MOST_HOSTS:])
        others = f" and {len(hosts) - _MOST_HOSTS} other hosts" if len(hosts) > _MOST_HOSTS else ""
        attempted = sum(row["attempted"] for row in self._rows)
        ended_badly = sum(row[name] for row in self._rows for name in ("refused", "timed_out", "failed"))
        return (
            f"{named}{others}; in {int(self._over.total_seconds())} s: {numbered(attempted, 'attempt')},"
            f" {ended_badly:,} without success, {numbered(len(self._rows), 'line')}"
        )

    def draw(self, width: int, height: int, fault: str | None) -> RenderableType:
        """All of it, no higher than the terminal."""
        from rich.console import Group as Lines
        from rich.text import Text

        # The head may take two lines, the titles of the columns too.
        rows = self._rows[: max(min(self._limit, height - 5), 1)]
        head = Text(visible(self.head() if fault is None else fault), style="bold")
        return Lines(head, fitting_table(*group_table(self._by, rows, times=False), width)) if rows else head

    def print(self) -> None:
        """Once, however long it is."""
        say(self.head())
        if self._rows:
            print_table(*group_table(self._by, self._rows[: self._limit], times=False))

    def as_object(self) -> dict[str, Any]:
        """What is shown."""
        names = (*self._by, *SUM_NAMES)
        return {
            "hosts": [
                {"host": host, "start": each.start, "end": each.end} for host, each in (self._hosts or {}).items()
            ],
            "over_seconds": self._over.total_seconds(),
            "rows": [{name: row[name] for name in names} for row in self._rows[: self._limit]],
        }
