"""`detector db`: looks after the database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from detector.cli.terminal import note, say

if TYPE_CHECKING:
    from detector.config import Settings


@click.group()
def db() -> None:
    """Look after the database.

    \b
    Examples:
      detector db upgrade
    """


@db.command()
@click.option(
    "--replace-damaged",
    is_flag=True,
    hidden=True,
    help="Set an SQLite file aside that cannot be read any more: for `run`.",
)
@click.pass_obj
def upgrade(settings: Settings, /, *, replace_damaged: bool) -> None:
    """Bring the database to the schema of this version, and make it where there is none.

    Rows that are there stay. Doing it twice does no harm.

    \b
    Examples:
      detector db upgrade
      DETECTOR_DATABASE_URL=sqlite:////var/lib/detector/detector.db detector db upgrade
    """
    from detector.errors import StoreDamagedError
    from detector.service.renewal import renew
    from detector.store.engine import open_store, place
    from detector.store.engine import upgrade as upgrade_schema

    engine = open_store(settings.database_url)
    try:
        before, after = upgrade_schema(engine)
    except StoreDamagedError as fault:
        if not replace_damaged:
            raise
        note(renew(settings.database_url, fault))
        before, after = upgrade_schema(engine)
    finally:
        engine.dispose()
    where = place(engine)
    if before == after:
        say(f"{where}: already current, schema {after}")
    elif before is None:
        say(f"{where}: made, schema {after}")
    else:
        say(f"{where}: upgraded from schema {before} to {after}")
