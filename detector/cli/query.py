"""`detector query`: who connected where, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from detector.cli.criteria import filter_options, wanted_by
from detector.cli.groups import NEW_NAMES, SUM_NAMES, Fields, first_of, new_object, print_groups, print_keys, sort_rows
from detector.cli.incomplete import show_incomplete
from detector.cli.output import JSON, TABLE, chosen_format, format_options, write_rows
from detector.cli.parameters import LIMIT, check_period
from detector.cli.rows import ROW_NAMES, as_object, print_rows
from detector.cli.terminal import note

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection

    from detector.config import Settings
    from detector.store.filters import HistoryFilter
    from detector.store.history import Page

# The options that choose among snapshots too, not only among their rows.
_OF_SNAPSHOTS = ("since", "until", "host")
_ABOUT = "what hours and days hold counts whole: which of their snapshots match is not known"
_WHOLE = "at the ends of the period some hours or days count whole: their snapshots have expired"


@click.command()
@filter_options("--to")
@click.option("--new", is_flag=True, help="Instead: keys that were first seen in the period, and what they did since.")
@click.option("--by", type=Fields(), help="Instead: sums, a row for each value: user, destination, port, day, …")
@click.option("--chart", is_flag=True, help="Instead: a time line, drawn.")
@click.option(
    "--incomplete",
    is_flag=True,
    help="Instead: the snapshots that are not complete, and why. Goes with --since, --until, --host, --limit, --json.",
)
@click.option("--sort", metavar="NAME[:asc|:desc]", help="The order of --by and --new: attempted, last_seen, …")
@click.option("--limit", type=LIMIT, default=100, show_default=True, help="The newest rows shown; of --by the first.")
@format_options
@click.pass_obj
def query(
    settings: Settings,
    /,
    *,
    new: bool,
    by: tuple[str, ...] | None,
    chart: bool,
    incomplete: bool,
    sort: str | None,
    limit: int,
    form: str | None,
    as_json: bool,
    **criteria: Any,
) -> None:
    """Show who connected where, and when: one row for each key and snapshot, the newest last.

    Where snapshots have expired, a row is one of an hour, or of a day. In a PATTERN * stands for any characters and ?
    for any one; case matters, but in --name. Quote it, or the shell expands it. Times without an offset are in the
    local zone, as are those shown; a date alone is its first moment.

    \b
    Examples:
      detector query --since 2h
      detector query --since 7d --login-user alice --to 10.0.0.0/8
      detector query --exe '*/nc' --outcome refused
      detector query --direction inbound --port 22 --since 'yesterday 14:00' --until today
      detector query --since 30d --by user,destination --sort refused
      detector query --since 90d --to 192.0.2.7 --by day --format csv
      detector query --since 7d --new --user 'www-*'
      detector query --since 30d --login-from 203.0.113.0/24 --chart
      detector query --min-score 0.99 --since 30d --limit 1000 --json
      detector query --incomplete --since 24h
    """
    from detector.cli.store import stored

    chosen = chosen_format(form, as_json=as_json)
    check_period(criteria["since"], criteria["until"])
    if incomplete:
        _check_alone(criteria, {"--new": new, "--by": by, "--chart": chart, "--sort": sort})
        if chosen not in {TABLE, JSON}:
            raise click.UsageError(f"--incomplete is shown as a table or as JSON, not as {chosen}")
        of_snapshots = {name: criteria[name] for name in _OF_SNAPSHOTS}
        show_incomplete(settings, limit=limit, as_json=chosen == JSON, **of_snapshots)
        return
    if chart and (new or by or sort):
        raise click.UsageError("--chart draws all that matches: it goes with neither --new nor --by nor --sort")
    if sort and not (new or by):
        raise click.UsageError("--sort goes with --by or --new: rows are in the order of time")
    if new and criteria["since"] is None:
        raise click.UsageError("--new needs --since: new since when? For example: --new --since 7d")
    wanted = wanted_by(criteria)
    with stored(settings) as connection:
        if chart:
            _show_chart(connection, wanted, chosen)
        elif by:
            _show_groups(connection, wanted, by, new=new, sort=sort, limit=limit, form=chosen)
        elif new:
            _show_new(connection, wanted, sort=sort, limit=limit, form=chosen)
        else:
            _show_rows(connection, wanted, limit, chosen)


def _show_rows(connection: Connection, wanted: HistoryFilter, limit: int, form: str) -> None:
    from detector.store.history import find

    page = find(connection, wanted, limit)
    if form != TABLE:
        write_rows(form, ROW_NAMES, (as_object(row) for row in page.rows))
    elif page.rows:
        print_rows(page.rows)
    else:
        note("no rows match")
    if page.total_more:
        note(_rest(page))


def _show_groups(
    connection: Connection,
    wanted: HistoryFilter,
    by: Sequence[str],
    *,
    new: bool,
    sort: str | None,
    limit: int,
    form: str,
) -> None:
    from detector.store.grouping import grouped
    from detector.store.newcomers import grouped_newcomers

    found = (grouped_newcomers if new else grouped)(connection, wanted, by)
    rows: list[Mapping[str, Any]] = [group.as_row() for group in found.groups]
    sort_rows(rows, by, SUM_NAMES, sort)
    shown = first_of(rows, by, sort, limit)
    names = (*by, *SUM_NAMES)
    if form != TABLE:
        write_rows(form, names, ({name: row[name] for name in names} for row in shown))
    elif shown:
        print_groups(by, shown)
    else:
        note("nothing matches")
    if len(rows) > limit:
        note(f"{len(rows) - limit:,} more: narrow the search, or raise --limit")
    for true, words in ((found.about, _ABOUT), (found.whole, _WHOLE)):
        if true:
            note(words)


def _show_new(connection: Connection, wanted: HistoryFilter, *, sort: str | None, limit: int, form: str) -> None:
    from detector.store.newcomers import newcomers

    found = newcomers(connection, wanted, None if sort else limit)
    rows = list(found.rows)
    more = found.total_more
    if sort:
        sort_rows(rows, ("host",), NEW_NAMES, sort)
        more, rows = max(len(rows) - limit, 0), rows[:limit]
    if form != TABLE:
        write_rows(form, NEW_NAMES, (new_object(row) for row in rows))
    elif rows:
        print_keys(rows)
    else:
        note("nothing is new")
    if more:
        note(f"{more:,} more are new: narrow the search, or raise --limit")
    if found.about:
        note(_ABOUT)


def _show_chart(connection: Connection, wanted: HistoryFilter, form: str) -> None:
    from detector.cli import chart
    from detector.store.timeline import reach, timeline

    period = reach(connection, wanted)
    found = {}
    if period is not None and period[0] < period[1]:
        since, until = period
        fine = chart.is_fine(since, until)
        found = timeline(connection, wanted, fine=fine)
        length = chart.length_for(since, until, fine=fine)
        drawn = chart.bars(found, since, until, length)
    if form != TABLE:
        write_rows(form, chart.NAMES, chart.as_objects(drawn) if found else [])
    elif found:
        chart.draw(drawn)
    else:
        note("nothing matches")


def _check_alone(criteria: Mapping[str, Any], instead: Mapping[str, Any]) -> None:
    parameters = click.get_current_context().command.params
    options = {parameter.name: parameter.opts[0] for parameter in parameters}
    others = [options[name] for name, value in criteria.items() if name not in _OF_SNAPSHOTS and value is not None]
    others += [name for name, value in instead.items() if value]
    if others:
        raise click.UsageError(f"--incomplete shows snapshots, which {', '.join(others)} cannot choose among")


def _rest(page: Page) -> str:
    from detector.store.history import MOST_COUNTED

    number = f"{page.total_more:,}" + (" or more" if page.total_more >= MOST_COUNTED else "")
    about = "about " if page.about else ""
    return f"{about}{number} older rows match too: narrow the search, or raise --limit"
