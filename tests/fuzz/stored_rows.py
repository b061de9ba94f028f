"""The database's own rows: what somebody who may write there has left, or a disk."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detector import config, shipped
from detector.errors import DetectorError
from detector.notify.outbox import deliver_channel
from detector.notify.retry import RetryPolicy
from detector.pipeline import detect_next
from detector.ruleset.evaluate import RuleSet
from detector.ruleset.load import load_rules
from detector.service.detecting import build_stages
from detector.service.messages import Messages
from detector.store.engine import open_store
from detector.store.outbox import StoredOutbox
from tests.full_store import SINCE, stored_file
from tests.fuzz.harness import Surface, call
from tests.notify.samples import Clock, Receiver
from tests.service.test_messages import Told

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from detector.config import Settings

_HEAD = 6
_SINCE = ("--since", SINCE)
VERBS: tuple[tuple[str, ...], ...] = (
    ("query", *_SINCE, "--json"),
    ("query", *_SINCE, "--by", "user,remote_name"),
    ("query", *_SINCE, "--chart"),
    ("query", *_SINCE, "--incomplete"),
    ("query", *_SINCE, "--min-score", "0.5", "--format", "csv"),
    ("who", "203.0.113.66", *_SINCE),
    ("who", "mallory", "--as", "user", *_SINCE, "--json"),
    ("diff", "--from", "2026-03-02 09:00..2026-03-02 15:00", "--to", "2026-03-02 15:00..2026-03-02 21:00"),
    ("verify",),
    ("alerts", "list", *_SINCE),
    ("alerts", "list", "--held"),
    ("alerts", "show", "1"),
    ("alerts", "show", "2", "--json"),
    ("silence", "list", "--all"),
    ("export", "--what", "alerts", *_SINCE),
    ("export", *_SINCE),
    ("model", "list"),
    ("model", "status"),
    ("model", "status", "--json"),
    ("model", "explain", *_SINCE, "--limit", "3"),
    ("model", "explain", "--alert", "1"),
    ("model", "review", "--list", "--all"),
    ("model", "feedback", "list"),
    ("model", "train"),
    ("notify", "status"),
    ("notify", "digest", *_SINCE, "--until", "2026-03-03"),
    ("notify", "preview", "--alert", "1", "--channel", "console"),
    ("notify", "route", "1"),
    ("db", "status"),
    ("rules", "list", "--cost"),
    ("rules", "explain", "vertical_scan", "1"),
    ("rules", "test", "vertical_scan", *_SINCE),
)
"""What reads what is stored."""
# A few of them: to read them all takes longer than what is looked at here.
_RULES = ("vertical_scan", "anomaly_score", "host_silent")
DETECT, DELIVER = len(VERBS), len(VERBS) + 1
"""What else reads it: the service."""
_POLICY = RetryPolicy(first_wait=timedelta(seconds=15), give_up_after=timedelta(hours=72), lease=timedelta(minutes=2))
_ODD: tuple[Any, ...] = (
    None,
    -1,
    0,
    2**63 - 1,
    -(2**63),
    float("inf"),
    1e308,
    "",
    "x",
    "{}",
    "[]",
    "[[null]]",
    "null",
    b"",
    b"\xff" * 16,
)


@dataclass(frozen=True)
class _Place:
    """A column of a table that has rows."""

    table: str
    column: str
    keys: tuple[str, ...]
    rows: int


@lru_cache(maxsize=1)
def _places() -> tuple[_Place, ...]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.deserialize(stored_file())
        tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").fetchall()
        found = []
        for (table,) in tables:
            (rows,) = connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()
            columns = connection.execute(f'PRAGMA table_info("{table}")').fetchall()
            keys = tuple(name for _, name, *_, in_key in columns if in_key)
            if rows and table != "alembic_version":
                found += [_Place(table, name, keys, rows) for _, name, *_ in columns]
        return tuple(found)


def _change(connection: sqlite3.Connection, place: _Place, row: int, change: Callable[[Any], Any]) -> None:
    keys = ", ".join(f'"{key}"' for key in place.keys)
    this = f'FROM "{place.table}" ORDER BY {keys} LIMIT 1 OFFSET {row}'
    was, *key = connection.execute(f'SELECT "{place.column}", {keys} {this}').fetchone()
    here = " AND ".join(f'"{name}" IS ?' for name in place.keys)
    # Not what the schema forbids.
    with suppress(sqlite3.IntegrityError):
        connection.execute(f'UPDATE "{place.table}" SET "{place.column}" = ? WHERE {here}', (change(was), *key))


def _seeds() -> Sequence[bytes]:
    """Who reads; then of each change the column, the row, the kind, and how long what it puts there is, with that."""
    seeds = []
    for number in range(len(_places())):
        change = number.to_bytes(2, "big") + b"\0\0" + bytes([number * 7 % 48, 4]) + b"\0abc"
        seeds.append(bytes([number % (DELIVER + 1)]) + change)
    return seeds


def _changes(data: bytes) -> Iterator[tuple[_Place, int, int, bytes]]:
    while len(data) >= _HEAD:
        column, row, kind, length = int.from_bytes(data[:2], "big"), int.from_bytes(data[2:4], "big"), data[4], data[5]
        place = _places()[column % len(_places())]
        yield place, row % place.rows, kind, data[_HEAD : _HEAD + length]
        data = data[_HEAD + length :]


def _changed(was: Any, kind: int, payload: bytes) -> Any:
    """What stands in the place of a value."""
    if kind % 3 == 0:
        return _ODD[kind // 3 % len(_ODD)]
    if kind % 3 == 1:
        return payload if kind % 2 else payload.decode("utf-8", "replace")
    raw = was if isinstance(was, bytes) else str(was).encode()
    start = (payload[0] if payload else 0) * len(raw) // 256
    raw = raw[:start] + payload[1:] + raw[start + (len(payload) - 1 if kind % 2 else kind) :]
    return raw if isinstance(was, bytes) else raw.decode("utf-8", "replace")


def _open(folder: Path) -> Callable[[bytes], None]:
    path, pristine = folder / "detector.db", stored_file()
    settings_file = folder / "detector.toml"
    rules = folder / "rules"
    rules.mkdir()
    for name in _RULES:
        shutil.copy(shipped.folder("rules") / f"{name}.yml", rules)
    settings_file.write_text(
        f'state_folder = "{folder}"\n[database]\nurl = "sqlite:///{path}"\n[rules]\nfolders = ["{rules}"]\n'
    )
    settings = config.load(settings_file, {})
    ruleset = load_rules([rules]).ruleset

    def read(data: bytes) -> None:
        # Each time another file: whatever still has the last one open does not lock this one.
        for name in (path, f"{path}-wal", f"{path}-shm"):
            Path(name).unlink(missing_ok=True)
        path.write_bytes(pristine)
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            for place, row, kind, payload in _changes(data[1:]):
                _change(connection, place, row, lambda was: _changed(was, kind, payload))  # noqa: B023 - called at once
        reader = data[0] % (DELIVER + 1) if data else 0
        if reader == DETECT:
            _detect(settings, ruleset)
        elif reader == DELIVER:
            _deliver(settings)
        else:
            call("--config", settings_file, *VERBS[reader])

    return read


def _detect(settings: Settings, ruleset: RuleSet) -> None:
    engine = open_store(settings.database_url)
    try:
        with suppress(DetectorError):
            stages = build_stages(settings, ruleset)
            for _ in range(2):
                detect_next(engine, 1, stages)
    finally:
        engine.dispose()


def _deliver(settings: Settings) -> None:
    engine = open_store(settings.database_url)
    told = Told()
    try:
        with suppress(DetectorError):
            writer = Messages(engine, settings, RuleSet, told)
            outbox, channel = StoredOutbox(engine), Receiver()
            for name in outbox.due_channels(Clock()()):
                deliver_channel(outbox, name, channel, clock=Clock(), policy=_POLICY, writer=writer)
    finally:
        engine.dispose()


SURFACE = Surface("stored-rows", _open, _seeds, (b"\0", b"\xff", b"[1]", b'{"a": 1}', b"x\x9c", b"\x28\xb5\x2f\xfd"))
