"""How long questions to a long past take, on SQLite: the store's functions in a warm process, and the whole command.

BENCH_COUNTS says how many counts that past has (default: 10 million; 100 million take most of an hour to write);
BENCH_PAST names a database that is kept: written if it is not there, else used as it is.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from benchmarks import past
from benchmarks.figures import Figure
from detector.store.difference import difference
from detector.store.dossier import Kind, dossier
from detector.store.engine import open_store, reading
from detector.store.filters import HistoryFilter
from detector.store.grouping import grouped
from detector.store.history import find
from detector.store.newcomers import newcomers
from detector.store.tables import connection_keys, packed_counts, snapshots

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection

_COUNTS = int(os.environ.get("BENCH_COUNTS", "10000000"))
_KEPT = os.environ.get("BENCH_PAST")
_ROUNDS = 40
_COMMANDS = 3
_LIMIT = 100
_DAY = timedelta(days=1)


def measure() -> Iterator[Figure]:
    """Each question about other users, networks and addresses every time, frequent and rare ones."""
    with _written() as path:
        engine = open_store(f"sqlite:///{path}")
        with reading(engine) as connection:
            counts = connection.scalar(select(func.sum(packed_counts.c.rows))) or 0
            end = connection.scalar(select(func.max(snapshots.c.end))) or datetime.now(UTC)
            keys = connection_keys.c
            users = [user for user in connection.scalars(select(keys.login_user).distinct()) if user]
            addresses = [str(each) for each in connection.scalars(select(keys.remote_address).distinct())]
        yield Figure("counts", counts, "", f"{path.stat().st_size / 1e9:.2f} GB")
        for name, ask, options in _questions(sorted(users), sorted(addresses), end):
            took, worked = [], []
            # Those that are no command here are slow.
            for number in range((_ROUNDS if options else _COMMANDS) + 1):
                chance = random.Random(number)
                started, working = time.perf_counter(), time.process_time()
                with reading(engine) as connection:
                    ask(connection, chance)
                took.append(1000 * (time.perf_counter() - started))
                worked.append(1000 * (time.process_time() - working))
            # The first one compiles statements. Processor time is what it takes where nobody else works.
            slow, busy = (quantiles(each[1:], n=20, method="inclusive")[-1] for each in (took, worked))
            note = f"median {median(took[1:]):,.0f} ms; processor time {busy:,.0f} and {median(worked[1:]):,.0f} ms"
            yield Figure(f"{name}: p95", slow, "ms", note)
            if options:
                yield Figure(f"{name}: whole command", _command(path, options), "ms", f"median of {_COMMANDS}")
        engine.dispose()


def _questions(
    users: list[str], addresses: list[str], end: datetime
) -> Iterator[tuple[str, Callable[[Connection, random.Random], Any], list[str]]]:
    def ask_user(connection: Connection, chance: random.Random) -> Any:
        return find(connection, HistoryFilter(login_user=chance.choice(users), since=end - 30 * _DAY), _LIMIT)

    def ask_network(connection: Connection, chance: random.Random) -> Any:
        network = ip_network(f"{chance.choice(addresses)}/{chance.choice((8, 16, 24, 28, 32))}", strict=False)
        return find(connection, HistoryFilter(remote_addresses=network, since=end - 365 * _DAY), _LIMIT)

    def ask_new(connection: Connection, chance: random.Random) -> Any:  # noqa: ARG001  the same each time
        return newcomers(connection, HistoryFilter(since=end - 7 * _DAY), _LIMIT)

    def ask_who(connection: Connection, chance: random.Random) -> Any:
        return dossier(connection, Kind.ADDRESS, chance.choice(addresses), HistoryFilter(), 10)

    def ask_by_user(connection: Connection, chance: random.Random) -> Any:
        return grouped(connection, HistoryFilter(since=end - chance.choice((1, 2, 3)) * _DAY), ("login_user",))

    def ask_difference(connection: Connection, chance: random.Random) -> Any:  # noqa: ARG001  the same each time
        by = ("login_user", "remote_address", "port")
        return difference(connection, HistoryFilter(), (end - 3 * _DAY, end - _DAY), (end - _DAY, end), by)

    user, address = users[len(users) // 2], addresses[len(addresses) // 2]
    yield "query --login-user … --since 30d", ask_user, ["query", "--login-user", user, "--since", "30d"]
    yield "query --to CIDR --since 1y", ask_network, ["query", "--to", f"{address}/16", "--since", "365d"]
    yield "query --new --since 7d", ask_new, ["query", "--new", "--since", "7d"]
    yield "who ADDRESS", ask_who, ["who", address]
    yield "query --by login_user --since 1d to 3d", ask_by_user, []
    yield "diff of 2 days and 1", ask_difference, []


def _command(path: Path, options: list[str]) -> float:
    """Milliseconds from start to end, output and all."""
    program = [str(Path(sys.executable).with_name("detector")), *options]
    environment = {**os.environ, "DETECTOR_DATABASE_URL": f"sqlite:///{path}"}
    took = []
    for _ in range(_COMMANDS):
        started = time.perf_counter()
        subprocess.run(program, check=True, env=environment, capture_output=True)
        took.append(1000 * (time.perf_counter() - started))
    return median(took)


@contextmanager
def _written() -> Iterator[Path]:
    """The database, written unless it is there."""
    if _KEPT is not None:
        path = Path(_KEPT)
        if not path.exists():
            past.write(path, _COUNTS)
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "detector.db"
        past.write(path, _COUNTS)
        yield path
