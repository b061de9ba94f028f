"""`detector query`: who connected where, and when."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - click's callbacks
from typing import TYPE_CHECKING, Any

import click

from detector.cli.parameters import LIMIT, Moment, Network, Ports
from detector.cli.rows import as_object, print_rows
from detector.cli.terminal import note, print_json
from detector.domain import Direction, Outcome

if TYPE_CHECKING:
    from detector.config import Settings
    from detector.store.history import Page


@click.command()
@click.option("--since", type=Moment(), help="Only what came after: 7d, 2h, 2026-11-20, '2026-11-20 14:00'.")
@click.option("--until", type=Moment(), help="Only what came before, written as for --since.")
@click.option("--host", metavar="PATTERN", help="Only of hosts with this name.")
@click.option("--user", metavar="PATTERN", help="Only by processes that ran as this account.")
@click.option(
    "--login-user", metavar="PATTERN", help="Only by who logged in as this account, whatever sudo made of it."
)
@click.option("--exe", "executable", metavar="PATTERN", help="Only by programs with this path.")
@click.option("--to", "remote_network", type=Network(), help="Only with this address or network at the other end.")
@click.option("--port", "ports", type=Ports(), help="Only to these ports; inbound: only at them.")
@click.option("--direction", type=click.Choice([each.value for each in Direction]), help="Only this way.")
@click.option("--outcome", type=click.Choice([each.value for each in Outcome]), help="Only rows with such an end.")
@click.option("--min-score", type=click.FloatRange(0, 1), help="Only what is at least this strange, 0 to 1.")
@click.option("--limit", type=LIMIT, default=100, show_default=True, help="The newest rows shown.")
@click.option("--json", "as_json", is_flag=True, help="A JSON list of objects, all fields, times in UTC.")
@click.pass_obj
def query(settings: Settings, /, limit: int, as_json: bool, **criteria: Any) -> None:
    """Show who connected where, and when: one row for each key and snapshot, the newest last.

    In a PATTERN * stands for any characters and ? for any one; case matters. Quote it, or the shell expands it. Times
    without an offset are in the local zone, as are those shown; a date alone is its first moment.

    \b
    Examples:
      detector query --since 2h
      detector query --since 7d --login-user alice --to 10.0.0.0/8
      detector query --exe '*/nc' --outcome refused
      detector query --direction inbound --port 22 --since '2026-11-20 14:00' --until 2026-11-21
      detector query --min-score 0.99 --since 30d --limit 1000 --json
    """
    from detector.cli.store import stored
    from detector.store.history import HistoryFilter, find

    _check_period(criteria["since"], criteria["until"])
    criteria["ports"] = criteria["ports"] or ()
    for name, kind in (("direction", Direction), ("outcome", Outcome)):
        criteria[name] = kind(criteria[name]) if criteria[name] else None
    with stored(settings) as connection:
        page = find(connection, HistoryFilter(**criteria), limit)
    if as_json:
        print_json([as_object(row) for row in page.rows])
    elif page.rows:
        print_rows(page.rows)
    else:
        note("no rows match")
    if page.total_more:
        note(_rest(page))


def _check_period(since: datetime | None, until: datetime | None) -> None:
    if since is not None and until is not None and since >= until:
        raise click.BadParameter("it is not before --until", param_hint="'--since'")


def _rest(page: Page) -> str:
    from detector.store.history import MOST_COUNTED

    number = f"{page.total_more:,}" + (" or more" if page.total_more >= MOST_COUNTED else "")
    return f"{number} older rows match too: narrow the search, or raise --limit"
