"""An import is exact, whenever and however it is interrupted, on both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

from detector.collector.log_lines import LoggedSnapshot
from detector.domain import Snapshot
from detector.errors import StoreError
from detector.service import importing
from detector.service.importing import ImportResult, LogImport
from detector.store import imports
from detector.store.engine import reading, writing
from detector.store.filters import HistoryFilter
from detector.store.history import find
from detector.store.imports import Source
from detector.store.snapshots import SnapshotWriter
from detector.store.tables import snapshots as snapshots_table
from tests.builders import START, Recorder, count

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Engine

_SOURCE = Source(digest=b"s" * 16, format="zeek", name="conn.log", options="--interval 60s")


def _log(number: int = 40, host: str = "web-1", begin: int = 0) -> list[LoggedSnapshot]:
    """Snapshots of a minute, each of two rows, some keys new in each."""
    minute = timedelta(minutes=1)
    return [
        LoggedSnapshot(
            Snapshot(
                host=host,
                start=START + at * minute,
                end=START + (at + 1) * minute,
                counts=(count(port=22), count("10.0.0.1", at % 7 + 1, attempted=3)),
            ),
            rows=4,
        )
        for at in range(begin, begin + number)
    ]


def _import(
    engine: Engine, log: Sequence[LoggedSnapshot] | Iterator[LoggedSnapshot], source: Source = _SOURCE, **options: Any
) -> ImportResult:
    work = LogImport(engine, source, live_host="bastion-1", **options)
    assert work.done_before() == []
    work.run(log)
    work.finish(refused=1, left_out=2)
    return work.result


def _stored(engine: Engine) -> list[dict[str, Any]]:
    """All that is stored of snapshots and rows."""
    with reading(engine) as connection:
        found = [dict(row) for row in find(connection, HistoryFilter(), 100_000).rows]
        # Less the hash, of which the host's name is a part.
        columns = [column for column in snapshots_table.c if column.name != "chain_hash"]
        every = connection.execute(select(*columns).order_by(snapshots_table.c.host_id, snapshots_table.c.seq))
        return [*found, *(dict(row) for row in every.mappings())]


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction for every three snapshots."""
    monkeypatch.setattr(importing, "_BATCH_SNAPSHOTS", 3)


def test_all_is_stored_once(engine: Engine) -> None:
    """The second time nothing is done, and who asks is told what the first did."""
    result = _import(engine, _log())

    assert (result.snapshots, result.rows, result.counts, result.too_old, result.stored_before) == (40, 160, 80, 0, 0)
    assert result.hosts["web-1"].start == START
    stored = _stored(engine)
    again = LogImport(engine, replace(_SOURCE, options="--interval 1s"), live_host="bastion-1")
    (before,) = again.done_before()
    assert (before.host, before.snapshots, before.rows) == ("web-1", 40, 160)
    assert before.finished_at is not None
    assert again.done_before("web-2") == []
    assert _stored(engine) == stored


class _PulledPlugError(Exception):
    pass


@pytest.mark.parametrize("at", [0, 1, 2, 3, 4, 11, 12, 39, 40])
def test_an_interrupted_import_goes_on(engine: Engine, at: int) -> None:
    """Wherever it stopped: at the end it is as if it had not. Two interruptions do no more harm than one."""
    log = _log()
    reference = _import(
        engine,
        [replace(each, snapshot=replace(each.snapshot, host="all-at-once")) for each in log],
        replace(_SOURCE, digest=b"r" * 16),
    )

    def pulled(after: int) -> Iterator[LoggedSnapshot]:
        yield from log[:after]
        raise _PulledPlugError

    for after in (at, (at + 40) // 2):
        work = LogImport(engine, _SOURCE, live_host="bastion-1")
        with pytest.raises(_PulledPlugError):
            work.run(pulled(after))
    result = _import(engine, log)

    assert result.rows + result.stored_before == reference.rows
    assert result.too_old == 0
    by_host: dict[Any, list[dict[str, Any]]] = {}
    for row in _stored(engine):
        host = row.pop("host", None) or row["host_id"]
        row.pop("host_id")
        by_host.setdefault(host, []).append(row)
    assert by_host["web-1"] == by_host["all-at-once"]
    assert by_host[1] == by_host[2]
    with reading(engine) as connection:
        (state,) = imports.imported(connection, _SOURCE.digest)
    assert (state.snapshots, state.rows, state.last_seq) == (40, 160, 40)


def test_a_write_that_fails_stores_nothing_and_says_nothing(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is stored and that it is stored are one transaction."""
    write = SnapshotWriter.write
    calls = iter(range(100))

    def fail(*arguments: Any) -> Any:
        if next(calls) == 4:
            raise KeyboardInterrupt
        return write(*arguments)

    monkeypatch.setattr(SnapshotWriter, "write", fail)
    work = LogImport(engine, _SOURCE, live_host="bastion-1")

    with pytest.raises(KeyboardInterrupt):
        work.run(_log())

    with reading(engine) as connection:
        (state,) = imports.imported(connection, _SOURCE.digest)
        stored = connection.scalars(select(snapshots_table.c.seq)).all()
    assert (state.snapshots, state.last_seq, list(stored), state.finished_at) == (3, 3, [1, 2, 3], None)
    assert (work.result.snapshots, work.result.rows) == (3, 12)


def test_an_interrupted_import_goes_on_in_the_same_way_only(engine: Engine) -> None:
    """Other intervals would be other snapshots."""
    LogImport(engine, _SOURCE, live_host="bastion-1").run(_log(3))

    other = LogImport(engine, replace(_SOURCE, options="--interval 300s"), live_host="bastion-1")

    with pytest.raises(StoreError, match="interrupted, and was made with --interval 60s"):
        other.done_before("web-1")
    assert other.done_before("web-2") == []


def test_a_dry_run_stores_nothing(engine: Engine) -> None:
    """And says the same as what it stands for."""
    dry = _import(engine, _log(), dry_run=True)

    assert _stored(engine) == []
    assert dry == _import(engine, _log())
    assert _import(engine, _log(50), replace(_SOURCE, digest=b"o" * 16), dry_run=True).snapshots == 10


def test_a_host_of_a_collector_is_left_alone(engine: Engine) -> None:
    """One that stored before, one that stores after an import, and the one that this machine's would."""
    Recorder(engine, host="live").snapshot(count())
    _import(engine, _log(3, "later"))
    recorder = Recorder(engine, host="later", now=START + timedelta(hours=1))
    recorder.snapshot(count())
    stored = _stored(engine)

    for host, said in (
        ("live", "a collector stores"),
        ("later", "a collector stores"),
        ("bastion-1", "on this machine"),
    ):
        work = LogImport(engine, replace(_SOURCE, digest=b"o" * 16), live_host="bastion-1")
        with pytest.raises(StoreError, match=said) as fault:
            work.check(host)
        assert "--host NAME" in fault.value.hint
        with pytest.raises(StoreError, match=said):
            work.run(_log(3, host, begin=500))
    assert _stored(engine) == stored


def test_a_collector_that_begins_meanwhile_ends_the_import(engine: Engine) -> None:
    """Nothing is mixed, not even in the middle."""

    def log() -> Iterator[LoggedSnapshot]:
        yield from _log(3)
        Recorder(engine, host="web-1", now=START + timedelta(days=1)).snapshot(count())
        yield from _log(3, begin=3)

    with pytest.raises(StoreError, match="a collector stores"):
        LogImport(engine, _SOURCE, live_host="bastion-1").run(log())

    with reading(engine) as connection:
        assert len(connection.scalars(select(snapshots_table.c.seq)).all()) == 4


def test_two_imports_at_once_do_not_mix(engine: Engine) -> None:
    """The one that comes second to a host ends, and says so."""
    other = replace(_SOURCE, digest=b"o" * 16)

    def log() -> Iterator[LoggedSnapshot]:
        yield from _log(3)
        _import(engine, _log(3, begin=3), other)
        yield from _log(3, begin=6)

    with pytest.raises(StoreError, match="something else stores snapshots of web-1"):
        LogImport(engine, _SOURCE, live_host="bastion-1").run(log())

    result = _import(engine, _log(9))
    assert (result.snapshots, result.stored_before, result.too_old) == (3, 12, 12)


def test_another_log_goes_on_where_the_host_stands(engine: Engine) -> None:
    """What lies before is counted, not stored: snapshots of a host follow one another."""
    _import(engine, _log(10))

    result = _import(engine, _log(10, begin=5), replace(_SOURCE, digest=b"o" * 16))

    assert (result.snapshots, result.rows, result.too_old, result.stored_before) == (5, 20, 20, 0)
    with reading(engine) as connection:
        gaps = connection.scalars(select(snapshots_table.c.gap_seconds)).all()
    assert set(gaps) == {0.0}


def test_hosts_of_one_log_stand_each_for_itself(engine: Engine) -> None:
    """More than keys are remembered of."""
    log = [each for number in range(20) for each in _log(4, f"h{number}")]
    log.sort(key=lambda each: each.snapshot.start)

    def pulled() -> Iterator[LoggedSnapshot]:
        yield from log[:30]
        raise _PulledPlugError

    with pytest.raises(_PulledPlugError):
        LogImport(engine, _SOURCE, live_host="bastion-1").run(pulled())
    result = _import(engine, log)

    assert (result.snapshots, result.rows, result.stored_before) == (50, 200, 120)
    with reading(engine) as connection:
        states = imports.imported(connection, _SOURCE.digest)
    assert {(state.snapshots, state.last_seq, state.finished_at is not None) for state in states} == {(4, 4, True)}
    assert len(states) == 20


def test_an_import_says_when_it_was(engine: Engine) -> None:
    """Begin and end, what was refused and what was left out stand in the store."""
    began = datetime.now(UTC)
    _import(engine, _log(3))

    from detector.store.tables import imports as table

    with writing(engine) as connection:
        row = connection.execute(select(table)).mappings().one()
    assert began <= row["started_at"] <= row["finished_at"] <= datetime.now(UTC)
    assert (row["refused"], row["left_out"], row["name"], row["format"]) == (1, 2, "conn.log", "zeek")
    assert (row["stored_from"], row["stored_until"]) == (START, START + timedelta(minutes=3))
