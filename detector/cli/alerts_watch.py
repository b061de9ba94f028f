"""`detector alerts watch`: alerts as they come."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from detector.cli import live_view
from detector.cli.alert_names import as_object, state_of
from detector.cli.alerts_list import alert_table
from detector.cli.parameters import LIMIT, HostName
from detector.cli.tables import fitting_table, height_of
from detector.cli.terminal import json_line, local, note, say
from detector.errors import StoreError
from detector.visible import visible

if TYPE_CHECKING:
    from rich.console import RenderableType
    from sqlalchemy import Engine

    from detector.config import Settings
    from detector.domain import Alert


@click.command()
@click.option("--host", type=HostName(), help="Only of the host with this name.")
@click.option("--limit", type=LIMIT, default=30, show_default=True, help="The most alerts shown.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line for each alert that is new or has changed.")
@click.pass_obj
def watch(settings: Settings, /, host: str | None, limit: int, *, as_json: bool) -> None:
    """Watch alerts as they come and change. Ctrl-C ends it.

    Where standard output is no terminal, a line is printed for each alert that is new from now on.

    \b
    Examples:
      detector alerts watch
      detector alerts watch --host bastion-1
      detector alerts watch --json | jq --unbuffered .summary
    """
    from detector.store.engine import open_store
    from detector.store.migrating import check_current

    engine = open_store(settings.database_url)
    try:
        check_current(engine)
        view = _View(engine, host, limit)
        view.look()
        if as_json or not sys.stdout.isatty():
            _follow(view, as_json=as_json)
        else:
            live_view.watch(view)
    finally:
        engine.dispose()


class _View:
    """The alerts that were active last."""

    def __init__(self, engine: Engine, host: str | None, limit: int) -> None:
        self._engine, self._host, self._limit = engine, host, limit
        self.alerts: list[Alert] = []
        """The newest last."""
        self._seen: dict[int, Alert] = {}
        self._before: tuple[int, datetime] | None = None
        """The last alert that there was at the first look, and the last end of any; None: there was no look yet."""

    def look(self) -> list[Alert]:
        """Looks at the store; gives those that are new or have changed.

        Raises:
            StoreError: the database is away.
        """
        found = self._latest()
        if self._before is None:
            last = max((each.alert_id for each in found), default=0)
            self._before = last, max((each.end for each in found), default=datetime.min.replace(tzinfo=UTC))
            news = found
        else:
            last, end = self._before
            # An old one that was not shown yet is news when it goes on.
            news = [each for each in found if each.alert_id in self._seen or each.alert_id > last or each.end > end]
        changed = [each for each in news if self._seen.get(each.alert_id) != each]
        self._seen |= {each.alert_id: each for each in changed}
        self.alerts = found[-self._limit :]
        return changed

    def _latest(self) -> list[Alert]:
        """The last alerts, and so many that none that came since the last look is missing."""
        from detector.store.alerts import list_alerts
        from detector.store.engine import reading

        limit = self._limit
        while True:
            with reading(self._engine) as connection:
                found = list_alerts(connection, host=self._host, limit=limit)[::-1]
            # What is as it was is behind all that is new.
            if (
                self._before is None
                or len(found) < limit
                or any(self._seen.get(each.alert_id) == each for each in found)
            ):
                return found
            limit *= 2

    def draw(self, width: int, height: int, fault: str | None) -> RenderableType:
        """So many of the newest as the terminal has room for, and one at least."""
        from rich.console import Group as Lines
        from rich.text import Text

        open_now = sum(each.state != "resolved" for each in self.alerts)
        head = fault or f"{open_now} not resolved, of the last {len(self.alerts)} alerts"
        title = Text(visible(head), style="bold")
        drawn: RenderableType = title
        for number in range(1, len(self.alerts) + 1):
            more = Lines(title, fitting_table(*alert_table(self.alerts[-number:]), width))
            if number > 1 and height_of(more, width) > height:
                break
            drawn = more
        return drawn


def _follow(view: _View, *, as_json: bool) -> None:
    """A line for each alert that is new from now on, or with JSON has changed."""
    seen = {each.alert_id for each in view.alerts}
    fault = ""
    while True:
        time.sleep(live_view.POLL_SECONDS)
        try:
            changed = view.look()
        except StoreError as gone:
            if gone.message != fault:
                note(gone.message)
            fault = gone.message
            continue
        fault = ""
        for each in changed:
            if as_json:
                click.echo(json_line(as_object(each)), nl=False)
            elif each.alert_id not in seen:
                say(
                    f"{local(each.end)}  alert {each.alert_id}, {each.severity}, {state_of(each)}, on {each.host}: "
                    f"{each.rule_title}: {each.summary}"
                )
        seen |= {each.alert_id for each in changed}
        sys.stdout.flush()
