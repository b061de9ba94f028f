"""`detector db prune`: deletes what has expired, now."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from detector.amounts import megabytes
from detector.cli.parameters import Moment
from detector.cli.terminal import local, say
from detector.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from sqlalchemy import Engine

    from detector.config import Settings
    from detector.store.retention import Done, Kept

_PATIENCE_SECONDS = 30.0
_PLURALS = {"hourly_counts": "hours of keys", "daily_counts": "days of keys"}


@click.command()
@click.option(
    "--older-than",
    "before",
    type=Moment(),
    help="Delete snapshots, and what was added up of them, from before this: 90d, 2026-01-31. Default: as configured.",
)
@click.option("--dry-run", is_flag=True, help="Say what would go, and delete nothing.")
@click.option("--yes", is_flag=True, help="Do not ask, if more would go than is configured, or the clock may be wrong.")
@click.pass_obj
def prune(settings: Settings, /, *, before: datetime | None, dry_run: bool, yes: bool) -> None:
    """Delete what has expired, by age and by size, as is configured under [retention].

    `detector detect` does so while it runs: this is for what it did not come to, and for making room. What detection
    has not seen, or has not added up, stays. Can be interrupted at any time, and goes on when it is called again.

    Age is told by this machine's clock. If nothing was stored yesterday the clock may be far ahead, and it is asked
    first.

    \b
    Examples:
      detector db prune --dry-run
      detector db prune
      detector db prune --older-than 7d --yes
    """
    from detector.service.keeping import kept_from
    from detector.store import sizes
    from detector.store.engine import open_store, place
    from detector.store.migrating import check_current

    engine = open_store(settings.database_url)
    try:
        check_current(engine)
        now = datetime.now(UTC)
        configured = kept_from(settings, engine)
        kept = configured if before is None else _shorter(configured, before, now)
        doubts = list(_doubts(engine, kept, configured, now))
        if dry_run:
            _say_what(engine, kept, now, doubts)
            return
        if doubts and not yes and _say_what(engine, kept, now, doubts):
            click.confirm("delete all of that, all the same?", abort=True)
        size = sizes.measure(engine)
        done = _prune(engine, kept, now)
        after = sizes.measure(engine)
    finally:
        engine.dispose()
    for line in _lines(done.deleted, done.parts):
        say(f"deleted: {line}")
    say(f"{place(engine)}: {megabytes(size.used)} in use before, {megabytes(after.used)} now")
    if done.waits:
        raise StoreError(f"not all of it: {done.waits}", hint="do it again when the database is less busy")


def _shorter(kept: Kept, before: datetime, now: datetime) -> Kept:
    age = now - before
    if age.total_seconds() < 0:
        raise click.BadParameter("it is in the future", param_hint="'--older-than'")
    return replace(kept, snapshots=age, hours=min(kept.hours, age), days=min(kept.days, age))


def _doubts(engine: Engine, kept: Kept, configured: Kept, now: datetime) -> Iterator[str]:
    """What speaks against it."""
    from detector.service.certainty import Certainty

    if not Certainty(engine, now).holds(now):
        yield f"nothing was stored between one day and two days ago, if it is {local(now)} as this machine's clock says"
    if kept.snapshots < configured.snapshots:
        yield f"snapshots are kept for {configured.snapshots.days} days"


def _say_what(engine: Engine, kept: Kept, now: datetime, doubts: Iterable[str]) -> bool:
    """Says what would go, and what speaks against it; returns whether anything would."""
    from detector.store.forecast import would_go

    going = would_go(engine, kept, now)
    for line in _lines(going, []):
        say(f"would go: {line}")
    if not any(going.values()):
        say(f"nothing would go by age: no snapshot is from before {local(now - kept.snapshots)}")
        return False
    for doubt in doubts:
        say(f"but: {doubt}")
    return True


def _prune(engine: Engine, kept: Kept, now: datetime) -> Done:
    from detector.store import rollups
    from detector.store.retention import Done, Retention
    from detector.store.shrinking import Shrinking
    from detector.store.turns import hosts_with_cursor, turn

    done = Done()
    until = time.monotonic() + _PATIENCE_SECONDS
    while True:
        with turn(engine) as ours:
            if ours:
                for host_id in hosts_with_cursor(engine):
                    while rollups.advance(engine, host_id, now=now).more:
                        pass
                retention = Retention(engine, kept)
                shrinking = Shrinking(retention)
                for steps in (retention.by_age(now, done), retention.thoroughly(now, done)):
                    _exhaust(steps)
                if shrinking.has_to:
                    _exhaust(shrinking.shrink(now, done))
                _exhaust(shrinking.compact())
                return done
        if time.monotonic() > until:
            raise StoreError("another process is looking after the database", hint="try again in a minute")
        time.sleep(1.0)


def _exhaust(steps: Iterator[None]) -> None:
    for _ in steps:
        # Whoever waits for SQLite's lock looks for it now and then.
        time.sleep(0.005)


def _lines(numbers: Mapping[str, int], parts: list[str]) -> Iterator[str]:
    for name, number in numbers.items():
        if number:
            yield f"{number:,} {_PLURALS.get(name, name)}"
    yield from parts
