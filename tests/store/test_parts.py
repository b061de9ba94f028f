"""On Postgres what grows with time is in parts, which are dropped when they have expired."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from threading import Event, Thread
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, select, text

from detector.config import Settings
from detector.service.keeping import Keeping, kept_from
from detector.store import cursors, old_parts, partitions, rollups
from detector.store.engine import reading, writing
from detector.store.retention import Done, Kept, Retention
from detector.store.tables import packed_counts
from detector.store.tables import snapshots as snapshots_table
from detector.store.turns import turn
from tests.builders import Lines, Recorder, count, observe

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from detector.store.partitions import Part

pytestmark = pytest.mark.postgres

_DAY = timedelta(days=1)
_TODAY = datetime(2026, 3, 2, tzinfo=UTC)
_KEPT = Kept(snapshots=30 * _DAY, hours=180 * _DAY, days=1095 * _DAY, alerts=1095 * _DAY)


def _add_parts(engine: Engine, now: datetime) -> list[str]:
    with reading(engine) as connection:
        wanted = partitions.missing(connection, now)
    return [part.name for parted, part in wanted if not old_parts.create(engine, parted.name, part)]


def _parts(engine: Engine, table: str) -> list[Part]:
    with reading(engine) as connection:
        return partitions.parts_of(connection, table)


def _in_rest(engine: Engine, table: str) -> int:
    with reading(engine) as connection:
        return connection.scalar(text(f"SELECT count(*) FROM {table}_rest")) or 0


def _seqs(engine: Engine) -> list[int]:
    with reading(engine) as connection:
        return list(connection.scalars(select(snapshots_table.c.seq).order_by(snapshots_table.c.seq)))


def _fill(engine: Engine, days: int) -> Recorder:
    """A snapshot on each day, seen and added up."""
    recorder = Recorder(engine, now=_TODAY + timedelta(hours=1))
    for _ in range(days):
        _add_parts(engine, recorder.now)
        ref = recorder.snapshot(count())
        observe(engine, ref)
        with writing(engine) as connection:
            cursors.advance_cursor(connection, ref)
        recorder.pass_time(days=1)
    while rollups.advance(engine, ref.host_id, now=recorder.now + _DAY).more:
        pass
    return recorder


def _age(engine: Engine, now: datetime) -> Done:
    done = Done()
    for _ in Retention(engine, _KEPT).by_age(now, done):
        pass
    return done


def test_parts_are_there_a_week_ahead(postgres_engine: Engine) -> None:
    """Whoever is away for a week finds parts for what it stores; doing it again adds nothing."""
    made = _add_parts(postgres_engine, _TODAY)

    assert len(_parts(postgres_engine, "snapshots")) == 9
    assert made[0] == "snapshots_20260302"
    assert _add_parts(postgres_engine, _TODAY) == []
    Recorder(postgres_engine, now=_TODAY + 7 * _DAY).snapshot(count())
    assert _in_rest(postgres_engine, "snapshots") == _in_rest(postgres_engine, "packed_counts") == 0


def test_a_day_that_has_rows_already_is_no_fault(postgres_engine: Engine) -> None:
    """What was stored before there was a part for it stays where it is, and that day goes without one."""
    Recorder(postgres_engine, now=_TODAY + timedelta(hours=1)).snapshot(count())

    made = _add_parts(postgres_engine, _TODAY)

    assert "snapshots_20260302" not in made
    assert "snapshots_20260303" in made
    assert _in_rest(postgres_engine, "snapshots") == 1


def test_a_table_that_is_divided_otherwise_is_left_alone(postgres_engine: Engine) -> None:
    """As a hypertable of TimescaleDB's is: a table without parts of Postgres' own."""
    with writing(postgres_engine) as connection:
        connection.execute(text("CREATE TABLE divided (LIKE packed_counts INCLUDING ALL)"))
        connection.execute(text("DROP TABLE packed_counts"))
        connection.execute(text("ALTER TABLE divided RENAME TO packed_counts"))
    _add_parts(postgres_engine, _TODAY)
    assert _parts(postgres_engine, "packed_counts") == []
    assert len(_parts(postgres_engine, "packed_observations")) == 9


def test_expired_days_are_dropped(postgres_engine: Engine) -> None:
    """A day of snapshots goes as a whole when all of it is older than 30 days, and not before."""
    _fill(postgres_engine, 5)

    assert _age(postgres_engine, _TODAY + 33 * _DAY - timedelta(hours=1)).parts == [
        "snapshots_20260302",
        "snapshots_20260303",
    ]

    assert _seqs(postgres_engine) == [3, 4, 5]
    assert "packed_counts_20260302" not in {part.name for part in _parts(postgres_engine, "packed_counts")}
    with reading(postgres_engine) as connection:
        assert connection.scalar(select(func.count()).select_from(packed_counts)) == 3


def test_a_silent_hosts_newest_snapshot_outlives_its_day(postgres_engine: Engine) -> None:
    """When the day of its newest snapshot is dropped, a host goes on with the next number, and tells of the gap."""
    _fill(postgres_engine, 3)

    _age(postgres_engine, _TODAY + 90 * _DAY)

    assert _seqs(postgres_engine) == [3]
    assert _in_rest(postgres_engine, "snapshots") == 1
    assert Recorder(postgres_engine, now=_TODAY + 90 * _DAY).snapshot(count()).seq == 4


def test_a_day_waits_for_all_its_hosts(postgres_engine: Engine) -> None:
    """A host that detection has not come to keeps a day for the others too; what is in the rest is deleted in rows."""
    Recorder(postgres_engine, host="behind", now=_TODAY - _DAY).snapshot(count())
    _fill(postgres_engine, 3)
    slow = Recorder(postgres_engine, host="behind", now=_TODAY + timedelta(hours=2))
    slow.snapshot(count())
    slow.snapshot(count())

    done = _age(postgres_engine, _TODAY + 90 * _DAY)

    assert "snapshots_20260302" not in done.parts
    assert "snapshots_20260303" in done.parts


def test_a_table_in_use_is_dropped_later(postgres_engine: Engine) -> None:
    """Whoever reads for long holds up a drop, and not the collector: the drop gives up after a second, and says why."""
    _fill(postgres_engine, 3)
    with reading(postgres_engine) as connection:
        connection.execute(select(func.count()).select_from(snapshots_table))
        done = _age(postgres_engine, _TODAY + 90 * _DAY)
        stored = Recorder(postgres_engine, now=_TODAY + 90 * _DAY).snapshot(count())

    assert "lock timeout" in done.waits
    assert stored.seq == 4
    assert _age(postgres_engine, _TODAY + 90 * _DAY).parts


def test_of_several_workers_one_has_the_turn(postgres_engine: Engine) -> None:
    """Others do not wait for it, and have it when it is over."""
    with turn(postgres_engine) as first, turn(postgres_engine) as second:
        assert (first, second) == (True, False)
    with turn(postgres_engine) as again:
        assert again


def test_workers_at_once_add_each_part_once(postgres_engine: Engine) -> None:
    """Two services that start at the same moment neither fail nor get in each other's way."""
    said = Lines()
    keepers = [Keeping(postgres_engine, kept_from(Settings(), postgres_engine), Event(), said) for _ in range(3)]
    workers = [Thread(target=keeper.round, args=(datetime.now(UTC),)) for keeper in keepers]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)

    assert said.lines == []
    assert len(_parts(postgres_engine, "snapshots")) == 9
