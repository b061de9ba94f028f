"""`detector query`: who connected where, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from detector.cli.incomplete import show_incomplete
from detector.cli.parameters import LIMIT, Moment, Network, Ports, check_period
from detector.cli.rows import as_object, print_rows
from detector.cli.terminal import note, print_json
from detector.domain import Direction, Outcome, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from detector.config import Settings
    from detector.store.history import Page

# The options that choose among snapshots too, not only among their rows.
_OF_SNAPSHOTS = ("since", "until", "host")


@click.command()
@click.option("--since", type=Moment(), help="Only what came after: 7d, 2h, 2026-11-20, '2026-11-20 14:00'.")
@click.option("--until", type=Moment(), help="Only what came before, written as for --since.")
@click.option("--host", metavar="PATTERN", help="Only of hosts with this name.")
@click.option("--user", metavar="PATTERN", help="Only by processes that ran as this account.")
@click.option(
    "--login-user", metavar="PATTERN", help="Only by who logged in as this account, whatever sudo made of it."
)
@click.option(
    "--login-from", "login_addresses", type=Network(), help="Only by who logged in from this address or network."
)
@click.option("--exe", "executable", metavar="PATTERN", help="Only by programs with this path.")
@click.option("--parent", "parent_executable", metavar="PATTERN", help="Only by what programs with this path started.")
@click.option("--to", "remote_addresses", type=Network(), help="Only with this address or network at the other end.")
@click.option("--name", "remote_name", metavar="PATTERN", help="Only with what was looked up under this name.")
@click.option("--port", "ports", type=Ports(), help="Only to these ports; inbound: only at them.")
@click.option("--direction", type=click.Choice([each.value for each in Direction]), help="Only this way.")
@click.option("--protocol", type=click.Choice([each.value for each in Protocol]), help="Only by this protocol.")
@click.option("--outcome", type=click.Choice([each.value for each in Outcome]), help="Only rows with such an end.")
@click.option("--min-score", type=click.FloatRange(0, 1), help="Only what is at least this strange, 0 to 1.")
@click.option(
    "--incomplete",
    is_flag=True,
    help="Instead: the snapshots that are not complete, and why. Goes with --since, --until, --host, --limit, --json.",
)
@click.option("--limit", type=LIMIT, default=100, show_default=True, help="The newest rows shown.")
@click.option("--json", "as_json", is_flag=True, help="A JSON list of objects, all fields, times in UTC.")
@click.pass_obj
def query(settings: Settings, /, incomplete: bool, limit: int, as_json: bool, **criteria: Any) -> None:
    """Show who connected where, and when: one row for each key and snapshot, the newest last.

    In a PATTERN * stands for any characters and ? for any one; case matters, but in --name. Quote it, or the shell
    expands it. Times without an offset are in the local zone, as are those shown; a date alone is its first moment.

    \b
    Examples:
      detector query --since 2h
      detector query --since 7d --login-user alice --to 10.0.0.0/8
      detector query --exe '*/nc' --outcome refused
      detector query --direction inbound --port 22 --since '2026-11-20 14:00' --until 2026-11-21
      detector query --login-from 203.0.113.0/24 --name '*.example.org' --protocol udp
      detector query --min-score 0.99 --since 30d --limit 1000 --json
      detector query --incomplete --since 24h
    """
    from detector.cli.store import stored
    from detector.store.filters import HistoryFilter
    from detector.store.history import find

    check_period(criteria["since"], criteria["until"])
    if incomplete:
        _check_alone(criteria)
        show_incomplete(settings, limit=limit, as_json=as_json, **{name: criteria[name] for name in _OF_SNAPSHOTS})
        return
    criteria["ports"] = criteria["ports"] or ()
    for name, kind in (("direction", Direction), ("protocol", Protocol), ("outcome", Outcome)):
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


def _check_alone(criteria: Mapping[str, Any]) -> None:
    parameters = click.get_current_context().command.params
    options = {parameter.name: parameter.opts[0] for parameter in parameters}
    others = [options[name] for name, value in criteria.items() if name not in _OF_SNAPSHOTS and value is not None]
    if others:
        raise click.UsageError(f"--incomplete shows snapshots, which {', '.join(others)} cannot choose among")


def _rest(page: Page) -> str:
    from detector.store.history import MOST_COUNTED

    number = f"{page.total_more:,}" + (" or more" if page.total_more >= MOST_COUNTED else "")
    return f"{number} older rows match too: narrow the search, or raise --limit"
