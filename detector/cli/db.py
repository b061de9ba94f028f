"""`detector db`: looks after the database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from detector.amounts import megabytes
from detector.cli.db_copies import backup, pg_dump_instead, vacuum
from detector.cli.db_prune import prune
from detector.cli.db_status import status
from detector.cli.terminal import say
from detector.cli.verbs import Verbs
from detector.visible import visible

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from detector.config import Settings


@click.group(cls=Verbs)
def db() -> None:
    """Look after the database.

    Old snapshots are deleted by `detector detect` while it runs; nothing here need be done regularly but a backup.

    \b
    Examples:
      detector db upgrade
      detector db status
      detector db backup /var/backups/detector.db
      detector db roles | psql detector
    """


@db.command()
@click.option(
    "--backup",
    "backup_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="If an SQLite database has to be changed, copy it to FILE before; an older FILE is replaced.",
)
@click.option(
    "--for-service",
    is_flag=True,
    hidden=True,
    help="At its start: leave Postgres alone, and set an SQLite file aside that cannot be read any more.",
)
@click.pass_obj
def upgrade(settings: Settings, /, *, backup_file: Path | None, for_service: bool) -> None:
    """Bring the database to the schema of this version, and make it where there is none.

    Rows that are there stay. Doing it twice does no harm, nor does doing it from several places at once.

    \b
    Examples:
      detector db upgrade
      detector db upgrade --backup /var/backups/detector.db
      DETECTOR_DATABASE_URL=sqlite:////var/lib/detector/detector.db detector db upgrade
    """
    from detector.errors import StoreDamagedError
    from detector.log import Level, Log
    from detector.service.renewal import renew
    from detector.store.engine import open_store, place
    from detector.store.migrating import upgrade as upgrade_schema

    # Of the service's start this is a part, and is said like the rest of it.
    log = Log("run", settings.log.format, settings.log.level)
    engine = open_store(settings.database_url)
    if for_service and engine.dialect.name != "sqlite":
        return
    try:
        if backup_file is not None:
            _copy_before(engine, backup_file)
        before, after = upgrade_schema(engine)
    except StoreDamagedError as fault:
        if not for_service:
            raise
        log.say(Level.WARNING, "fault", renew(settings.database_url, fault))
        before, after = upgrade_schema(engine)
    finally:
        engine.dispose()
    done = f"{place(engine)}: {_outcome(before, after)}"
    if for_service:
        log.say(Level.INFO, "database", done)
    else:
        say(done)


def _outcome(before: str | None, after: str) -> str:
    if before == after:
        return f"already current, schema {after}"
    return f"made, schema {after}" if before is None else f"upgraded from schema {before} to {after}"


def _copy_before(engine: Engine, file: Path) -> None:
    """Copies an SQLite database that is about to be changed."""
    from detector.store.backup import backup as copy
    from detector.store.migrating import is_older

    if is_older(engine):
        pg_dump_instead(engine, file)
        size = copy(engine, file, replace=True, progress=lambda _left, _total: None)
        say(f"{file}: {megabytes(size)}, as it was before")


@db.command()
@click.argument("revision")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def downgrade(settings: Settings, /, *, revision: str, yes: bool) -> None:
    """Take the database back to the schema REVISION, for an older version of detector.

    What the older schema has no room for is lost; everything else stays. Stop detector first, and make a backup.
    `detector db status` says which schema there is.

    \b
    Examples:
      detector db downgrade 0004
    """
    from detector.store.engine import open_store, place
    from detector.store.migrating import downgrade as downgrade_schema

    engine = open_store(settings.database_url)
    where = place(engine)
    if not yes:
        click.confirm(
            f"take {where} back to schema {visible(revision)}, and lose what that has no room for?", abort=True
        )
    try:
        before, after = downgrade_schema(engine, revision)
    finally:
        engine.dispose()
    if before == after:
        say(f"{where}: is at schema {after} already")
    else:
        say(f"{where}: taken back from schema {before} to {after}")


@db.command()
def roles() -> None:
    """Print the SQL that makes the roles of a fleet's Postgres: collectors, detectors, readers.

    Collectors may add, each to its own host, and change nothing. Run it after each upgrade; twice does no harm.

    \b
    Examples:
      detector db roles | psql -v ON_ERROR_STOP=1 detector
    """
    from detector.store.roles import sql

    say(sql().rstrip())


for _verb in (status, prune, vacuum, backup):
    db.add_command(_verb)
