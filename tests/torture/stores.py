"""Faults of the database, the disks, and what lies on them."""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING

from tests.disks import fill
from tests.torture.fault import Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path
    from random import Random

    from tests.torture.world import World

    Inflict = Callable[[World, Random], AbstractContextManager[None]]

_PAGE = 4096
_AWAY = r"waits? in the spool|detection waits|delivery waits|is back after"
_ASIDE = r"a new one is in its place"
_REPLACED = "The database was damaged and begins anew"


@contextmanager
def _postgres_stopped(world: World, _: Random) -> Iterator[None]:
    assert world.postgres
    world.postgres.stop()
    yield
    world.postgres.start()


@contextmanager
def _postgres_killed(world: World, _: Random) -> Iterator[None]:
    assert world.postgres
    world.postgres.signal(signal.SIGKILL)
    yield
    world.postgres.start()


@contextmanager
def _postgres_restarted(world: World, _: Random) -> Iterator[None]:
    assert world.postgres
    world.postgres.stop()
    world.postgres.start()
    yield


@contextmanager
def _postgres_hangs(world: World, _: Random) -> Iterator[None]:
    assert world.postgres
    world.postgres.signal(signal.SIGSTOP)
    yield
    world.postgres.signal(signal.SIGCONT)


@contextmanager
def _postgres_disk_full(world: World, _: Random) -> Iterator[None]:
    assert world.postgres
    assert world.postgres_disk
    filler = fill(world.postgres_disk)
    yield
    filler.unlink()
    # It ends when it cannot write what it promised.
    if not world.postgres.is_running():
        world.postgres.start()


@contextmanager
def _locked(world: World, _: Random) -> Iterator[None]:
    with suppress(sqlite3.Error), closing(sqlite3.connect(world.database, timeout=5, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        yield
        return
    yield


@contextmanager
def _state_disk_full(world: World, _: Random) -> Iterator[None]:
    filler = fill(world.state)
    yield
    filler.unlink()


def _damaged(damage: Callable[[Path, Random], None]) -> Inflict:
    @contextmanager
    def inflict(world: World, random: Random) -> Iterator[None]:
        if world.database.exists():
            _into_the_file(world.database)
            damage(world.database, random)
        yield

    return inflict


def _into_the_file(path: Path) -> None:
    """Nothing is left in the log beside it, as far as others let go of it."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(path, timeout=2)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _truncate(path: Path, random: Random) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // _PAGE // random.randint(2, 6) * _PAGE)


def _overwrite(path: Path, random: Random) -> None:
    """All pages but the first."""
    with path.open("r+b") as file:
        for page in range(1, path.stat().st_size // _PAGE):
            file.seek(page * _PAGE)
            file.write(random.randbytes(_PAGE))


def _unhead(path: Path, random: Random) -> None:
    """No database any more."""
    with path.open("r+b") as file:
        file.write(random.randbytes(100))


@contextmanager
def _spool_damaged(world: World, random: Random) -> Iterator[None]:
    """Of what waits there, a file is cut short, another changed; the oldest is left, which may be read just now."""
    with _postgres_stopped(world, random) if world.postgres else _locked(world, random):
        yield
        waiting = sorted((world.state / "spool").glob("*.snapshot"))[1:]
        for path in random.sample(waiting, min(2, len(waiting))):
            content = bytearray(path.read_bytes())
            if random.random() < 0.5:
                del content[random.randrange(len(content)) :]
            else:
                content[random.randrange(len(content))] ^= 0xFF
            path.write_bytes(content)


def _closed(choose: Callable[[World], Path]) -> Inflict:
    @contextmanager
    def inflict(world: World, _: Random) -> Iterator[None]:
        folder = choose(world)
        mode = folder.stat().st_mode & 0o777
        folder.chmod(0)
        # What stands open already needs nobody's leave.
        world.kill("detect")
        world.kill("collect")
        yield
        folder.chmod(mode)

    return inflict


@contextmanager
def _spool_closed(world: World, random: Random) -> Iterator[None]:
    """And the database is away, so that it is wanted."""
    spool = world.state / "spool"
    with _postgres_stopped(world, random) if world.postgres else _locked(world, random):
        spool.chmod(0)
        yield
        spool.chmod(0o700)


@contextmanager
def _programs_damaged(world: World, random: Random) -> Iterator[None]:
    """What was compiled for the kernel and kept, and a collector that starts and wants it."""
    for path in (world.place.folder / "cache").glob("*.programs"):
        content = path.read_bytes()
        os.truncate(path, random.randrange(len(content)))
    world.kill("collect")
    yield


def _of_postgres(name: str, inflict: Inflict, *, seconds: tuple[float, float], said: str = _AWAY) -> Fault:
    return Fault(name, inflict, said=said, seconds=seconds, on_sqlite=False)


def _of_sqlite(damage: str, how: Callable[[Path, Random], None]) -> Fault:
    return Fault(
        f"the SQLite file {damage}", _damaged(how), said=_ASIDE, alert=_REPLACED, forgets=True, on_postgres=False
    )


STORES = (
    _of_postgres("Postgres stopped for a while", _postgres_stopped, seconds=(2.0, 10.0)),
    _of_postgres("kill -9 of Postgres", _postgres_killed, seconds=(0.5, 4.0)),
    _of_postgres("Postgres restarted", _postgres_restarted, seconds=(0.5, 1.0), said=""),
    _of_postgres("Postgres hangs", _postgres_hangs, seconds=(6.0, 12.0)),
    _of_postgres("the disk of Postgres full", _postgres_disk_full, seconds=(4.0, 8.0)),
    Fault("the SQLite file locked", _locked, said=_AWAY, seconds=(6.0, 9.0), on_postgres=False),
    Fault("the disk of state and spool full", _state_disk_full, said="", seconds=(3.0, 10.0)),
    _of_sqlite("cut short", _truncate),
    _of_sqlite("overwritten", _overwrite),
    _of_sqlite("without its head", _unhead),
    Fault("files in the spool cut short and changed", _spool_damaged, said=_AWAY, seconds=(5.0, 9.0)),
    Fault("the state folder closed, and both roles started", _closed(lambda world: world.state),
          said=r"Permission denied|unable to open", seconds=(4.0, 8.0)),
    Fault("the spool closed while the database is away", _spool_closed, said=r"spool .*Permission denied|is back after",
          seconds=(4.0, 8.0)),
    Fault("kept kernel programs damaged, and collect started", _programs_damaged, said=r"collect was ended by"),
)  # fmt: skip
"""Of what holds data."""
