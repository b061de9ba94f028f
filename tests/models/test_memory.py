"""What a worker remembers never tells anything but the store does."""

from __future__ import annotations

import random
import shutil
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select, text, update

from detector.config import Models
from detector.models import memory
from detector.store.engine import open_store, reading, writing
from detector.store.migrating import downgrade, upgrade
from detector.store.retention import DESTINATIONS, Done, Kept, Retention
from detector.store.subjects import forget_met_once
from detector.store.tables import (
    model_blocks,
    model_channels,
    model_hosts,
    model_hours,
    model_records,
    model_samples,
    model_subjects,
)
from tests.builders import count
from tests.models.conftest import Watched, usual

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

    from detector.domain import ConnectionCount, Observation

_SETTINGS = Models(burn_in_hours=1, train_every_hours=1, train_rows=2688)
_TABLES = (model_hosts, model_subjects, model_blocks, model_channels, model_hours, model_records, model_samples)


def _learnt(engine: Engine) -> dict[str, list[tuple[object, ...]]]:
    with reading(engine) as connection:
        return {table.name: sorted(tuple(row) for row in connection.execute(select(table))) for table in _TABLES}


def _any_counts(chance: random.Random) -> list[ConnectionCount]:
    rows: dict[object, ConnectionCount] = {}
    for _ in range(chance.randrange(12)):
        values: dict[str, object] = {
            "executable": chance.choice((None, "/usr/bin/ssh", "/usr/bin/curl")),
            "user": chance.choice(("alice", "bob", "root")),
            "login_user": chance.choice((None, "alice", "bob")),
            "direction": chance.choice(("outbound", "outbound", "outbound", "inbound")),
            "attempted": chance.randrange(1, 5),
            "established": chance.randrange(4),
            "refused": chance.choice((0, 0, 2)),
        }
        made = count(f"10.0.{chance.randrange(3)}.{chance.randrange(9)}", chance.choice((22, 443, 8000)), **values)
        rows[made.key] = made
    return list(rows.values())


@pytest.mark.parametrize("seed", [1, 2])
def test_what_is_remembered_changes_nothing(engine: Engine, tmp_path: Path, seed: int) -> None:
    """A worker that goes on, workers that take turns, and one that is rolled back now and then, all say and learn the
    same as one that begins anew with each snapshot.
    """
    chance, other = random.Random(seed), open_store(f"sqlite:///{tmp_path}/other.db")
    upgrade(other)
    anew, going_on = Watched(other, _SETTINGS), Watched(engine, _SETTINGS)
    workers = [going_on.scorer, Watched(engine, _SETTINGS).scorer]
    for number in range(21):
        counts = _any_counts(chance)
        anew.restart()
        going_on.scorer = workers[number // 4 % 2 * chance.randrange(2)]
        if not number % 7:
            going_on.would_say(*counts)
            # What was rolled back has a number, too.
            with writing(engine) as connection:
                connection.execute(text("DELETE FROM packed_counts WHERE seq = (SELECT max(seq) FROM snapshots)"))
                connection.execute(text("DELETE FROM snapshots WHERE seq = (SELECT max(seq) FROM snapshots)"))
            going_on.recorder.writer = type(going_on.recorder.writer)(going_on.host)
        assert going_on.snapshot(*counts) == anew.snapshot(*counts)
    assert _learnt(engine) == _learnt(other)
    other.dispose()


@pytest.mark.parametrize("seed", [1, 2])
def test_what_was_not_touched_lately_is_read_again(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """A worker that keeps what it met in the last hour alone says and learns the same as one that begins anew."""
    monkeypatch.setattr(memory, "LATELY_HOURS", 1)
    monkeypatch.setattr(memory, "_FEW", 10**9)
    chance, other = random.Random(seed), open_store(f"sqlite:///{tmp_path}/other.db")
    upgrade(other)
    anew, going_on = (Watched(each, _SETTINGS, interval=timedelta(minutes=30)) for each in (other, engine))
    going_on.restart(trains=False)
    sizes = []
    for _ in range(24):
        counts = _any_counts(chance)
        anew.restart(trains=False)
        assert going_on.snapshot(*counts) == anew.snapshot(*counts)
        sizes.append(going_on.scorer.remembered)
    assert _learnt(engine) == _learnt(other)
    # It did forget, again and again.
    assert sum(after < before for before, after in pairwise(sizes)) > 3
    other.dispose()


def test_memory_is_of_what_a_host_does_and_not_of_all_it_ever_did(tmp_path: Path) -> None:
    """A host that meets new destinations day after day, beside those that it always had, is remembered in as many
    subjects after three days as after two.
    """
    engine = open_store(f"sqlite:///{tmp_path}/detector.db")
    upgrade(engine)
    watched = Watched(engine, _SETTINGS, interval=timedelta(hours=1))
    watched.restart(trains=False)
    always = [count(f"10.0.0.{place}", 443) for place in range(20)]
    sizes = []
    for hour in range(3 * 24):
        watched.snapshot(*always, *(count(f"93.0.{hour}.{place}", 443) for place in range(10)))
        sizes.append(watched.scorer.remembered)
    with reading(engine) as connection:
        stored = connection.scalar(text("SELECT count(*) FROM model_subjects")) or 0
    after_days = sizes[23::24]
    assert after_days[2] <= after_days[1] * 1.05
    assert after_days[2] < stored / 2
    engine.dispose()


def test_what_was_forgotten_is_forgotten(quiet: Watched) -> None:
    """A destination that the store forgot for want of room is new to a worker that remembers it."""

    def novelty(observed: list[Observation]) -> str | None:
        return next(each.novelty for each in observed if each.novelty or len(observed) == 1)

    once = count("198.51.100.7", 22)
    assert novelty(quiet.snapshot(once)) == "destination"
    quiet.snapshot(*usual(1))
    assert novelty(quiet.would_say(once)) is None
    quiet.snapshot(*usual(1))
    with reading(quiet.engine) as connection:
        subjects, blocks = (
            connection.scalar(text(f"SELECT count(*) FROM {name}")) or 0 for name in ("model_subjects", "model_blocks")
        )
    gone, last = forget_met_once(quiet.engine, 1, older=timedelta(minutes=1), after=-1, limit=1000)
    assert last is not None
    assert forget_met_once(quiet.engine, 1, older=timedelta(minutes=1), after=last, limit=1000) == (0, None)
    assert novelty(quiet.would_say(once)) == "destination"
    with reading(quiet.engine) as connection:
        assert connection.scalar(text("SELECT count(*) FROM model_subjects")) == subjects - gone
        assert (connection.scalar(text("SELECT count(*) FROM model_blocks")) or 0) < blocks


def test_what_was_not_met_for_longer_than_days_are_kept_is_forgotten(quiet: Watched) -> None:
    """Destinations that nobody went to for three years are new to the models; those of yesterday are not, and the rates
    by which they are judged stay.
    """
    often, new = count("198.51.100.7", 22), count("203.0.113.9", 22)
    for _ in range(15):
        quiet.snapshot(often)
    # Those three years: a snapshot each hour would take the test an hour.
    with writing(quiet.engine) as connection:
        connection.execute(update(model_hosts).values(observed_seconds=3.1 * 365 * 86_400))
    quiet.snapshot(*usual(1), new)
    kinds = {"found", "population", "habit", "port", "user", "executable"}
    others = select(model_blocks).where(model_blocks.c.kind.in_(kinds)).order_by(model_blocks.c.block)
    with reading(quiet.engine) as connection:
        before = connection.execute(others).all()
    day, done = timedelta(days=1), Done()
    kept = Kept(snapshots=30 * day, hours=180 * day, days=1095 * day, alerts=1095 * day)
    for _ in Retention(quiet.engine, kept).thoroughly(quiet.recorder.now, done):
        pass
    assert done.deleted[DESTINATIONS] > 0
    with reading(quiet.engine) as connection:
        assert connection.execute(others).all() == before
    assert quiet.would_say(often)[0].novelty == "destination"
    assert {each.novelty for each in quiet.would_say(*usual(1), new)} == {None}
    again = Done()
    for _ in Retention(quiet.engine, kept).thoroughly(quiet.recorder.now, again):
        pass
    assert not again.deleted[DESTINATIONS]


def test_a_restored_database_is_noticed(quiet: Watched, tmp_path: Path) -> None:
    """A worker that goes on with a database put back from a copy knows what the copy knows."""
    copy = tmp_path / "copy.db"
    shutil.copy(tmp_path / "quiet.db", copy)
    new = count("198.51.100.7", 22)
    assert quiet.snapshot(new)[0].novelty == "destination"
    assert quiet.would_say(new)[0].novelty is None
    quiet.engine.dispose()
    shutil.copy(copy, tmp_path / "quiet.db")
    for beside in ("-wal", "-shm"):
        (tmp_path / f"quiet.db{beside}").unlink(missing_ok=True)
    quiet.recorder.writer = type(quiet.recorder.writer)(quiet.host)
    assert quiet.would_say(new)[0].novelty == "destination"


def test_memory_is_bounded(quiet: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """More subjects than there is room for are not kept, and nothing changes but the time it takes."""
    monkeypatch.setattr(memory, "_MOST", 100)
    scan = [count("10.0.4.12", port) for port in range(1000, 1100)]
    first, again = quiet.snapshot(*scan), quiet.would_say(*scan)
    assert {each.novelty for each in first} == {"port"}
    assert {each.novelty for each in again} == {None}
    quiet.restart()
    assert quiet.would_say(*scan) == again


def test_blocks_survive_the_way_back(engine: Engine) -> None:
    """Each subject is by itself in the older schema, and comes back as it was; which block it is in may differ."""
    watched = Watched(engine, _SETTINGS)
    chance = random.Random(5)
    for _ in range(15):
        watched.snapshot(*_any_counts(chance))
    counts = _any_counts(chance)
    before = watched.would_say(*counts)
    downgrade(engine, "0022")
    with reading(engine) as connection:
        kinds = connection.scalar(text("SELECT count(DISTINCT kind) FROM model_subjects WHERE hours > 0")) or 0
    assert kinds > 10
    upgrade(engine)
    watched.restart()
    assert watched.would_say(*counts) == before
