"""What has expired goes, by age and by size; what is needed stays."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, select, text, update

from detector.store import cursors, rollups, silence, sizes
from detector.store.engine import reading, writing
from detector.store.packed import read_packed
from detector.store.retention import Done, Kept, Retention
from detector.store.shrinking import Shrinking
from detector.store.tables import (
    alerts,
    connection_keys,
    daily_counts,
    destination_names,
    detection_cursors,
    evidence,
    findings,
    hosts,
    hourly_counts,
    imports,
    login_origins,
    notifications,
    packed_counts,
    silences,
)
from detector.store.tables import snapshots as snapshots_table
from tests.builders import START, Recorder, count, insert_alert, observe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from sqlalchemy import Engine, Table

    from detector.domain import SnapshotRef

_DAY = timedelta(days=1)
_KEPT = Kept(snapshots=30 * _DAY, hours=180 * _DAY, days=1095 * _DAY, alerts=1095 * _DAY)


def _see(engine: Engine, *refs: SnapshotRef) -> None:
    """Detection is through with these."""
    for ref in refs:
        observe(engine, ref)
        with writing(engine) as connection:
            cursors.advance_cursor(connection, ref)


def _roll_up(engine: Engine, now: datetime) -> None:
    while rollups.advance(engine, 1, now=now).more:
        pass


def _age(engine: Engine, now: datetime, *, thoroughly: bool = True, kept: Kept = _KEPT) -> Done:
    done = Done()
    _exhaust(Retention(engine, kept).by_age(now, done))
    if thoroughly:
        _exhaust(Retention(engine, kept).thoroughly(now, done))
    return done


def _exhaust(steps: Iterator[None]) -> None:
    for _ in steps:
        pass


def _number(engine: Engine, table: Table) -> int:
    with reading(engine) as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


def _seqs(engine: Engine) -> list[int]:
    with reading(engine) as connection:
        return list(connection.scalars(select(snapshots_table.c.seq).order_by(snapshots_table.c.seq)))


def test_old_snapshots_go_and_young_ones_stay(engine: Engine) -> None:
    """After 30 days a snapshot is gone with its counts; its hour and its day are still known."""
    recorder = Recorder(engine)
    old = recorder.snapshot(count("10.0.0.1"))
    recorder.pass_time(days=20)
    young = recorder.snapshot(count("10.0.0.2"))
    _see(engine, old, young)
    _roll_up(engine, recorder.now + _DAY)

    done = _age(engine, START + 31 * _DAY)

    assert _seqs(engine) == [2]
    assert done.deleted["snapshots"] == 1
    assert _number(engine, packed_counts) == 1
    assert (_number(engine, hourly_counts), _number(engine, daily_counts), _number(engine, connection_keys)) == (
        2,
        2,
        2,
    )


def test_what_is_not_added_up_waits(engine: Engine) -> None:
    """However old it is, a snapshot stays until detection has seen it and its hour and day know of it."""
    recorder = Recorder(engine)
    first, last = recorder.snapshot(count()), recorder.snapshot(count())

    _age(engine, START + 40 * _DAY)
    assert _seqs(engine) == [1, 2]
    _see(engine, first, last)
    _age(engine, START + 40 * _DAY)
    assert _seqs(engine) == [1, 2]
    _roll_up(engine, START + 40 * _DAY)
    _age(engine, START + 40 * _DAY)

    assert _seqs(engine) == [2]


def test_a_host_that_was_silent_goes_on_counting_its_snapshots(engine: Engine) -> None:
    """When all of a host has expired, its next snapshot follows upon the last one: no number comes twice, and the gap
    is told.
    """
    recorder = Recorder(engine)
    _see(engine, *(recorder.snapshot(count()) for _ in range(5)))
    _roll_up(engine, START + _DAY)
    _age(engine, START + 60 * _DAY)

    recorder.now = START + 60 * _DAY
    ref = Recorder(engine, now=recorder.now).snapshot(count())

    assert ref.seq == 6
    with reading(engine) as connection:
        gap = connection.scalar(select(snapshots_table.c.gap_seconds).where(snapshots_table.c.seq == 6))
    assert gap == 60 * 86400 - 50


def test_hours_and_days_expire_and_keys_with_them(engine: Engine) -> None:
    """Hours go before days; a key, an origin and a name are deleted when nothing is left that they belong to."""
    recorder = Recorder(engine)
    gone = recorder.snapshot(count("10.0.0.1", login_address="192.0.2.1", remote_name="old.example.org"))
    recorder.pass_time(days=400)
    stays = recorder.snapshot(count("10.0.0.2", login_address="192.0.2.2", remote_name="new.example.org"))
    _see(engine, gone, stays)
    _roll_up(engine, recorder.now + _DAY)

    _age(engine, START + 401 * _DAY)
    assert (_number(engine, hourly_counts), _number(engine, daily_counts), _number(engine, connection_keys)) == (
        1,
        2,
        2,
    )
    _age(engine, START + 1200 * _DAY)

    assert [_number(engine, table) for table in (connection_keys, login_origins, destination_names)] == [1, 1, 1]
    with reading(engine) as connection:
        assert connection.scalar(select(hosts.c.expiries)) != 0


def test_a_collector_numbers_anew_what_has_expired(engine: Engine) -> None:
    """A collector that remembers the number of a key that was deleted meanwhile does not write it any more."""
    recorder = Recorder(engine)
    refs = [recorder.snapshot(count("10.0.0.1")), recorder.snapshot(count("10.0.0.2"))]
    _see(engine, *refs)
    _roll_up(engine, START + _DAY)
    _age(engine, START + 1200 * _DAY)
    assert _number(engine, connection_keys) == 1

    recorder.now = START + 1200 * _DAY
    ref = recorder.snapshot(count("10.0.0.1"), count("10.0.0.2"))

    with reading(engine) as connection:
        (packed,) = read_packed(connection, 1, (ref.seq, ref.seq))
        known = set(connection.scalars(select(connection_keys.c.key_id)))
    assert set(packed.counts["key_id"]) == known
    assert len(known) == 2


def test_a_key_that_came_back_just_now_stays(engine: Engine) -> None:
    """A key that was not seen for years, and is in a snapshot that is not added up yet, is not deleted under it."""
    recorder = Recorder(engine)
    _see(engine, recorder.snapshot(count("10.0.0.1")))
    _roll_up(engine, START + _DAY)
    recorder.now = START + 1200 * _DAY
    recorder.snapshot(count("10.0.0.1"))

    _age(engine, START + 1200 * _DAY)

    assert _number(engine, daily_counts) == 0
    assert _number(engine, connection_keys) == 1


def test_keys_behind_an_alert_stay_as_long_as_it(engine: Engine) -> None:
    """What an alert names can be read as long as the alert; with the alert it goes."""
    recorder = Recorder(engine)
    refs = [recorder.snapshot(count("10.0.0.1")), recorder.snapshot(count("10.0.0.2"))]
    _see(engine, *refs)
    _roll_up(engine, START + _DAY)
    insert_alert(engine, alert_id=1)
    with writing(engine) as connection:
        row = {"alert_id": 1, "seq": 1, "key_id": 1, "session": 0, "found_seq": 1}
        connection.execute(evidence.insert().values(**row))

    _age(engine, START + 1094 * _DAY, kept=Kept(snapshots=_DAY, hours=_DAY, days=_DAY, alerts=1095 * _DAY))
    assert (_number(engine, alerts), _number(engine, connection_keys)) == (1, 2)
    _age(engine, START + 1097 * _DAY)

    assert (_number(engine, alerts), _number(engine, evidence), _number(engine, connection_keys)) == (0, 0, 1)


def test_what_a_lasting_alert_found_long_ago_goes(engine: Engine) -> None:
    """Else something that is found in each snapshot for years would fill the disk; the alert and what is young stay."""
    Recorder(engine).snapshot(count())
    for alert_id, end in ((1, START + 1500 * _DAY), (2, START + 1500 * _DAY)):
        insert_alert(engine, alert_id=alert_id)
        with writing(engine) as connection:
            connection.execute(update(alerts).where(alerts.c.alert_id == alert_id).values(end=end))
    named = {"host_id": 1, "rule_id": "r", "decision": "grouped", "rows": 1}
    with writing(engine) as connection:
        for day in (0, 300, 600, 900, 1400):
            # Of the first each day a finding, of the second the oldest and the newest alone.
            for alert_id in (1, 2) if day in (0, 1400) else (1,):
                at = {"start": START + day * _DAY, "end": START + day * _DAY + timedelta(seconds=10)}
                one = {"seq": day + 1, "alert_id": alert_id, "fingerprint": f"{alert_id:032}"}
                connection.execute(findings.insert().values(**named, **one, **at))
                place = {"alert_id": alert_id, "seq": day + 1, "key_id": 1, "session": 0, "found_seq": day + 1}
                connection.execute(evidence.insert().values(**place))

    _age(engine, START + 1500 * _DAY)

    with reading(engine) as connection:
        for table in (findings, evidence):
            left = connection.execute(select(table.c.alert_id, table.c.seq).order_by(table.c.alert_id, table.c.seq))
            assert [tuple(row) for row in left] == [(1, 601), (1, 901), (1, 1401), (2, 1401)]
    assert _number(engine, alerts) == 2


def test_an_alert_that_is_to_be_sent_stays(engine: Engine) -> None:
    """A notification that waits is sent however old it is; what was sent goes with its alert."""
    Recorder(engine).snapshot(count())
    insert_alert(engine, alert_id=1)
    sent = {"alert_id": 1, "channel": "mail", "reason": "opened", "created_at": START, "next_attempt_at": START}
    with writing(engine) as connection:
        connection.execute(notifications.insert().values(state="pending", attempts=0, **sent))

    _age(engine, START + 1200 * _DAY)
    assert _number(engine, alerts) == 1
    with writing(engine) as connection:
        connection.execute(update(notifications).values(state="delivered"))
    _age(engine, START + 1200 * _DAY)

    assert (_number(engine, alerts), _number(engine, notifications)) == (0, 0)


def test_an_old_log_is_kept_as_long_as_a_new_one(engine: Engine) -> None:
    """What was imported today is there for 30 days, though it tells of last year."""
    recorder = Recorder(engine)
    refs = [recorder.snapshot(count()) for _ in range(3)]
    _see(engine, *refs)
    _roll_up(engine, START + 365 * _DAY)
    imported = {"host_id": 1, "source": b"s" * 16, "format": "zeek", "name": "conn.log", "options": ""}
    imported |= {"snapshots": 3, "rows": 3, "last_seq": 3, "stored_from": START, "stored_until": START}
    with writing(engine) as connection:
        at = START + 365 * _DAY
        connection.execute(imports.insert().values(**imported, started_at=at, finished_at=at))

    _age(engine, START + 366 * _DAY)
    assert _seqs(engine) == [1, 2, 3]
    _age(engine, START + 400 * _DAY)

    assert _seqs(engine) == [3]


def _shrink(engine: Engine, now: datetime, most_bytes: int) -> Done:
    kept = Kept(snapshots=30 * _DAY, hours=180 * _DAY, days=1095 * _DAY, alerts=1095 * _DAY, most_bytes=most_bytes)
    shrinking = Shrinking(Retention(engine, kept))
    done = Done()
    if shrinking.has_to:
        _exhaust(shrinking.shrink(now, done))
    return done


def test_silences_are_forgotten_with_their_alerts(engine: Engine) -> None:
    """What was noticed long ago goes, what is younger stays."""
    recorder = Recorder(engine)
    for ref, ago in ((recorder.snapshot(count()), 2000), (recorder.snapshot(count()), 1)):
        with writing(engine) as connection:
            silence.note(connection, ref, 30.0, recorder.now - ago * _DAY)

    _age(engine, recorder.now)

    assert _number(engine, silences) == 1


def test_by_size_the_oldest_snapshots_go_first(engine: Engine) -> None:
    """Of a database that is too large the oldest snapshots are deleted; hours and days, and the newest, stay."""
    recorder = Recorder(engine, unpacked=False)
    for number in range(150):
        took = [random.randrange(1, 1 << 20) for _ in range(400)]
        recorder.snapshot(
            *(
                count(f"10.0.{i // 200}.{i % 200}", session=number * i, handshake_us_total=us, handshake_us_max=us)
                for i, us in enumerate(took)
            )
        )
    with writing(engine) as connection:
        cursors.create_cursors(connection)
        connection.execute(update(detection_cursors).values(seq=150, recent_seq=150))
    _roll_up(engine, recorder.now + _DAY)
    _settle(engine)
    before = {table.name: _number(engine, table) for table in (hourly_counts, daily_counts, connection_keys)}
    used = sizes.measure(engine).used

    done = _shrink(engine, recorder.now, int(used * 1.45))

    assert done.deleted["snapshots"] > 0
    left = _seqs(engine)
    assert left == list(range(left[0], 151))
    # Postgres tells some time later how many rows are left: more may go than would have had to.
    assert left[0] < 140 or engine.dialect.name == "postgresql"
    assert {table.name: _number(engine, table) for table in (hourly_counts, daily_counts, connection_keys)} == before
    assert not done.unseen


def test_what_detection_has_not_seen_goes_last_and_is_counted(engine: Engine) -> None:
    """When nothing else is left to delete, what is given up unseen is told by the next snapshot and by the host."""
    recorder = Recorder(engine)
    for _ in range(30):
        recorder.snapshot(*(count(f"10.0.{i // 200}.{i % 200}", attempted=2, session=i) for i in range(600)))
    _settle(engine)

    done = _shrink(engine, recorder.now, 400_000)

    left = _seqs(engine)
    assert left[-1] == 30
    assert done.unseen == {"bastion-1": 30 - len(left)}
    with reading(engine) as connection:
        assert connection.scalar(select(hosts.c.given_up)) == 30 - len(left)
        first = connection.execute(select(snapshots_table).where(snapshots_table.c.seq == left[0])).one()
        assert first.lost_snapshots == 30 - len(left)
        assert first.lost_attempted == (30 - len(left)) * 1200
        cursors.create_cursors(connection)


def _settle(engine: Engine) -> None:
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM (ANALYZE)"))


@pytest.mark.parametrize("size", [0, 10**12])
def test_without_need_nothing_goes(engine: Engine, size: int) -> None:
    """A database that is small enough, or may be of any size, is left alone."""
    recorder = Recorder(engine)
    _see(engine, recorder.snapshot(count()), recorder.snapshot(count()))

    done = _shrink(engine, recorder.now, size)

    assert done == Done()
    assert _seqs(engine) == [1, 2]
