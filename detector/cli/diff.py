"""`detector diff`: what is new, and what is gone, between two periods."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from detector.cli.criteria import filter_options, wanted_by
from detector.cli.groups import SUM_NAMES, Fields, group_table, sort_rows
from detector.cli.output import TABLE, chosen_format, format_options, write_rows
from detector.cli.parameters import LIMIT, Period
from detector.cli.tables import Column, print_table
from detector.cli.terminal import note

if TYPE_CHECKING:
    from collections.abc import Mapping

    from detector.config import Settings

_DEFAULT_BY = ("host", "direction", "protocol", "login_user", "user", "executable", "remote_address", "port")
# What a span ends with was now when it was read.
_MOMENT = timedelta(minutes=1)


@click.command()
@click.option("--from", "before", type=Period(), required=True, help="The first period: 2026-11-01..2026-11-08, 7d, …")
@click.option("--to", "after", type=Period(), help="The second period. Default: from the end of the first until now.")
@click.option("--by", type=Fields(), help="What is compared. Default: host, who, with what, where to, and how.")
@filter_options("--address", period=False)
@click.option("--sort", metavar="NAME[:asc|:desc]", help="The order: attempted, last_seen, …")
@click.option("--limit", type=LIMIT, default=100, show_default=True, help="The lines shown, of each of new and gone.")
@format_options
@click.pass_obj
def diff(
    settings: Settings,
    /,
    *,
    before: tuple[datetime | None, datetime | None],
    after: tuple[datetime | None, datetime | None] | None,
    by: tuple[str, ...] | None,
    sort: str | None,
    limit: int,
    form: str | None,
    as_json: bool,
    **criteria: Any,
) -> None:
    """Show what is in one of two periods alone: new (+) in the second, or gone (-) since the first.

    A period is START..END, written as for --since of `detector query`, either of which may be left out; a day
    (2026-11-20, yesterday, monday); or a span back from now (7d).

    \b
    Examples:
      detector diff --from yesterday --to today
      detector diff --from 14d..7d
      detector diff --from 2026-11-01..2026-11-08 --to 2026-11-08..2026-11-15 --by login_user,destination
      detector diff --from 30d..1d --to 1d --by executable --host 'web-*'
      detector diff --from 2026-11-19 --to 2026-11-20 --outcome refused --format csv
    """
    from detector.cli.store import stored
    from detector.store.difference import difference

    chosen = chosen_format(form, as_json=as_json)
    if after is None:
        if before[1] is None or before[1] >= datetime.now(UTC) - _MOMENT:
            raise click.UsageError("nothing is after --from: name the second period with --to")
        after = (before[1], None)
    fields = by or _DEFAULT_BY
    with stored(settings) as connection:
        found = difference(connection, wanted_by(criteria), before, after, fields)
    rows: list[tuple[str, Mapping[str, Any]]] = []
    more = 0
    for change, groups in (("new", found.new), ("gone", found.gone)):
        of_change: list[Mapping[str, Any]] = [group.as_row() for group in groups]
        sort_rows(of_change, fields, SUM_NAMES, sort)
        rows += [(change, row) for row in of_change[:limit]]
        more += max(len(of_change) - limit, 0)
    names = (*fields, *SUM_NAMES)
    if chosen != TABLE:
        objects = ({"change": change, **{name: row[name] for name in names}} for change, row in rows)
        write_rows(chosen, ("change", *names), objects)
    elif rows:
        columns, lines = group_table(fields, [row for _, row in rows])
        signs = {"new": "+", "gone": "-"}
        print_table([Column(""), *columns], [(signs[rows[at][0]], *line) for at, line in enumerate(lines)])
    note(f"{len(found.new):,} new, {len(found.gone):,} gone, {found.both:,} in both")
    if more:
        note(f"{more:,} of them not shown: narrow the search, or raise --limit")
    if found.whole:
        note("at the ends of a period some hours or days count whole: their snapshots have expired")
