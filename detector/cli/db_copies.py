"""`detector db backup` and `detector db vacuum`: copy the database, and give back what is free in it."""

from __future__ import annotations

import os
import shlex
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from detector.amounts import megabytes
from detector.cli.terminal import note, say
from detector.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

    from detector.config import Settings

# What a disk and a processor that are slow write anew of a database in a second.
_BYTES_A_SECOND = 20_000_000


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@click.option("--quiet", is_flag=True, help="No progress bar, which there is on a terminal alone.")
@click.pass_obj
def backup(settings: Settings, /, *, file: Path, force: bool, quiet: bool) -> None:
    """Copy an SQLite database to FILE, which only this user can read, while detector runs.

    The copy is one state of the database, whatever is written meanwhile, and appears when it is whole. To go back to
    it, stop detector, put it in place of the database, and remove the files -wal and -shm beside that. Postgres has its
    own program, which this names.

    \b
    Examples:
      detector db backup /var/backups/detector-$(date +%F).db
      detector db backup --force /var/backups/detector.db
    """
    from detector.store.backup import backup as copy
    from detector.store.engine import open_store
    from detector.store.migrating import check_current

    engine = open_store(settings.database_url)
    try:
        pg_dump_instead(engine, file)
        check_current(engine)
        with _bar("copying", quiet=quiet) as progress:
            size = copy(engine, file, replace=force, progress=progress)
    finally:
        engine.dispose()
    say(f"{file}: {megabytes(size)}")


def pg_dump_instead(engine: Engine, file: Path) -> None:
    """Raises StoreError with the command that copies to `file`, if the database is of Postgres."""
    if engine.dialect.name == "postgresql":
        raise StoreError("a Postgres database is copied by its own program", hint=_pg_dump(engine, file))


def _pg_dump(engine: Engine, file: Path) -> str:
    """Without the password, which others would see on a command line."""
    url = engine.url
    words = ["pg_dump", "--format=custom", f"--file={file}"]
    named = {"--host": url.host, "--port": url.port, "--username": url.username, "--dbname": url.database}
    words += [f"{option}={value}" for option, value in named.items() if value is not None]
    return f"run: {shlex.join(words)}\nit asks for the password, or finds it in ~/.pgpass; pg_restore reads the file"


@click.command()
@click.option("--full", is_flag=True, help="Rewrite all of an SQLite file: it is as small as it can be then.")
@click.pass_obj
def vacuum(settings: Settings, /, *, full: bool) -> None:
    """Give back the room that is free within the database.

    `detector detect` does so while it runs. An SQLite file made by an older version has to be rewritten once for that,
    which this does: nobody can write meanwhile, and what the collector counts waits on disk. It says before how long
    that takes, and what of the disk; Ctrl-C ends it, and leaves the file as it was. On Postgres it is VACUUM.

    \b
    Examples:
      detector db vacuum
      detector db vacuum --full
    """
    from detector.store import rewriting, sizes
    from detector.store.engine import database_file, open_store, place
    from detector.store.migrating import check_current

    _keep_temporary_files_beside(settings)
    engine = open_store(settings.database_url)
    try:
        check_current(engine)
        before = sizes.measure(engine)
        if engine.dialect.name == "postgresql":
            rewriting.vacuum_tables(engine)
        elif full or not before.shrinks:
            needed = rewriting.room_needed(engine)
            seconds = max(before.used // _BYTES_A_SECOND, 1)
            note(
                f"{database_file(engine)}: rewriting it takes up to {megabytes(needed)} of the disk meanwhile, and "
                f"about {seconds:,} s, for which nobody can write; Ctrl-C leaves it as it is"
            )
            rewriting.rewrite(engine)
        else:
            while sizes.give_back(engine, 1000):
                pass
            sizes.shorten_log(engine)
        after = sizes.measure(engine)
    finally:
        engine.dispose()
    say(f"{place(engine)}: {megabytes(before.on_disk)} before, {megabytes(after.on_disk)} now")


def _keep_temporary_files_beside(settings: Settings) -> None:
    """SQLite writes the copy to /var/tmp, which may be on another disk than what was asked for room."""
    from sqlalchemy import make_url

    database = make_url(settings.database_url).database if settings.database_url.startswith("sqlite") else None
    if database:
        # It looks there when it is loaded.
        os.environ.setdefault("SQLITE_TMPDIR", str(Path(database).absolute().parent))


@contextmanager
def _bar(title: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error, if that is a terminal; gives what is to be told how much is left."""
    if quiet or not sys.stderr.isatty():
        yield lambda _left, _total: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda left, total: bar.update(task, total=total, completed=total - left)
