"""The roles of a fleet's database, on a real Postgres: what each may do, and what it is refused."""

from __future__ import annotations

import secrets
from datetime import timedelta
from threading import Event
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import make_url, text

from detector import shipped
from detector.alerts.book import AlertBook, ChannelPolicy
from detector.config import Models, Settings
from detector.domain import Severity, Snapshot
from detector.errors import StoreError
from detector.models.scorer import HostScorer
from detector.pipeline import Stages, detect_next, hosts_behind
from detector.ruleset.evaluate import RuleSet
from detector.ruleset.load import load_rules
from detector.service.keeping import Keeping, kept_from
from detector.store import history, rollups
from detector.store.engine import open_store, reading, writing
from detector.store.filters import HistoryFilter
from detector.store.migrating import check_current
from detector.store.packed import read_packed
from detector.store.partitions import parts_of
from detector.store.roles import sql
from detector.store.snapshots import SnapshotWriter
from tests.builders import START, count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

pytestmark = pytest.mark.postgres


@pytest.fixture
def login(postgres_engine: Engine) -> Iterator[Callable[[str, str], Engine]]:
    """Makes a login in one of the roles, and gives an engine of it."""
    for _ in range(2):
        # Twice: it does no harm.
        with postgres_engine.connect() as connection:
            raw = connection.connection.driver_connection
            assert raw is not None
            raw.autocommit = True
            raw.execute(sql())
            connection.invalidate()
    made: list[tuple[str, Engine]] = []

    def make(name: str, role: str) -> Engine:
        with postgres_engine.begin() as connection:
            connection.execute(text(f'CREATE ROLE "{name}" LOGIN IN ROLE {role}'))
            if role == "detector_detector":
                connection.execute(text(f'ALTER ROLE "{name}" SET role = {role}'))
        url = make_url(postgres_engine.url.render_as_string(hide_password=False)).set(username=name)
        made.append((name, open_store(url.render_as_string(hide_password=False))))
        return made[-1][1]

    yield make
    for name, engine in made:
        engine.dispose()
        with postgres_engine.begin() as connection:
            connection.execute(text(f'DROP ROLE "{name}"'))


def _snapshot(host: str, number: int = 0) -> Snapshot:
    start = START + timedelta(seconds=10 * number)
    counts = (count(port=number + 1, remote_name="db.example.org", login_address="203.0.113.7"),)
    return Snapshot(host=host, start=start, end=start + timedelta(seconds=10), counts=counts)


def _refused(engine: Engine, statement: str) -> bool:
    with (
        pytest.raises(StoreError, match=r"permission denied|row-level security|must be owner"),
        writing(engine) as connection,
    ):
        connection.execute(text(statement))
    return True


def test_a_collector_stores_snapshots(login: Callable[[str, str], Engine], postgres_engine: Engine) -> None:
    """With what its role may do, a collector starts, makes its host known, and stores snapshots, each once."""
    engine = login("bastion-1", "detector_collector")
    check_current(engine)
    writer, mark = SnapshotWriter("bastion-1"), secrets.token_bytes(16)
    for snapshot in (_snapshot("bastion-1"), _snapshot("bastion-1"), _snapshot("bastion-1", 1)):
        same = mark if snapshot.start == START else None
        with writing(engine) as connection:
            ref = writer.write(connection, snapshot, mark=same)
    assert ref.seq == 2
    # The next one knows nothing yet.
    with writing(engine) as connection:
        assert SnapshotWriter("bastion-1").write(connection, _snapshot("bastion-1", 2)).seq == 3
    with reading(postgres_engine) as connection:
        assert [each.rows for each in read_packed(connection, ref.host_id, (1, 3))] == [1, 1, 1]


_ALL = (
    "hosts",
    "snapshots",
    "packed_counts",
    "connection_keys",
    "login_origins",
    "destination_names",
    "replacements",
    "alembic_version",
)
_OTHERS = (
    "alerts",
    "findings",
    "evidence",
    "notifications",
    "models",
    "hourly_counts",
    "packed_observations",
    "imports",
)
_READ = ("packed_counts", "connection_keys", "login_origins", "destination_names", "snapshots", "hosts")


_FORBIDDEN = (
    *(f"DELETE FROM {table}" for table in (*_ALL, *_OTHERS)),
    *(f"TRUNCATE {table}" for table in (*_ALL, *_OTHERS)),
    *(f"SELECT * FROM {table}" for table in (*_READ, *_OTHERS)),
    "UPDATE hosts SET host = 'other'",
    "UPDATE hosts SET expiries = 7",
    "UPDATE snapshots SET lost_attempted = 0",
    "UPDATE packed_counts SET content = ''",
    "UPDATE connection_keys SET executable = '/usr/bin/ssh'",
    "UPDATE login_origins SET login_source = 'none'",
    "UPDATE destination_names SET remote_name = 'good.example.org'",
    "SELECT content FROM packed_counts_rest",
    'INSERT INTO snapshots_rest (host_id, seq, start, "end") VALUES (1, 9, now(), now())',
    "DELETE FROM snapshots_rest",
    "DROP TABLE snapshots_rest",
    "ALTER TABLE snapshots DISABLE ROW LEVEL SECURITY",
    "INSERT INTO alerts (alert_id) VALUES (1)",
    "UPDATE alembic_version SET version_num = 'x'",
    "CREATE TABLE mine (a integer)",
    "SET ROLE detector_detector",
)


def test_a_stolen_password_changes_nothing(login: Callable[[str, str], Engine]) -> None:
    """Whatever a collector's login tries beside adding snapshots is refused: it neither changes nor reads history."""
    engine = login("bastion-1", "detector_collector")
    with writing(engine) as connection:
        SnapshotWriter("bastion-1").write(connection, _snapshot("bastion-1"))
    for statement in _FORBIDDEN:
        assert _refused(engine, statement), statement


def test_detection_takes_a_snapshot_through_all_stages(login: Callable[[str, str], Engine]) -> None:
    """With what its role may do, a detector scores, applies rules, alerts, and rolls up."""
    collector, detector = login("bastion-1", "detector_collector"), login("worker-1", "detector_detector")
    with writing(collector) as connection:
        SnapshotWriter("bastion-1").write(connection, _snapshot("bastion-1"))
    stages = Stages(
        scorer=HostScorer(Models(burn_in_hours=0)),
        ruleset=load_rules([shipped.folder("rules")]).ruleset,
        alert_book=AlertBook([ChannelPolicy(name="console", min_severity=Severity.INFORMATIONAL)], timedelta(hours=1)),
    )
    check_current(detector)
    (host_id,) = hosts_behind(detector)
    detected = detect_next(detector, host_id, stages)
    assert detected is not None
    assert detected.findings
    rollups.advance(detector, host_id, now=START + timedelta(days=1))
    with reading(detector) as connection:
        assert connection.scalar(text("SELECT sum(attempted) FROM daily_counts")) == 1


def test_a_detector_looks_after_the_database(login: Callable[[str, str], Engine], postgres_engine: Engine) -> None:
    """With what its role may do, it makes parts, adds up, and deletes and drops what has expired."""
    collector, detector = login("bastion-1", "detector_collector"), login("worker-1", "detector_detector")
    said: list[str] = []

    class Said:
        def kept(self, message: str) -> None:
            said.append(message)

        def fault(self, message: str) -> None:
            raise AssertionError(message)

    kept = kept_from(Settings(), detector)
    Keeping(detector, kept, Event(), Said(), now=START).round(START)
    writer = SnapshotWriter("bastion-1")
    later = START + timedelta(days=60)
    # The last one a day and a quarter before that: by it the clock is believed.
    for number in (0, 9000, 18_000, 360 * (60 * 24 - 30)):
        with writing(collector) as connection:
            writer.write(connection, _snapshot("bastion-1", number))
    stages = Stages(scorer=HostScorer(Models()), ruleset=RuleSet(), alert_book=AlertBook([], timedelta(hours=1)))
    (host_id,) = hosts_behind(detector)
    while detect_next(detector, host_id, stages) is not None:
        pass
    with reading(postgres_engine) as connection:
        before = {table: parts_of(connection, table) for table in ("snapshots", "packed_counts")}
    assert len(before["snapshots"]) > 7
    for hour in range(4):
        now = later + timedelta(hours=hour)
        Keeping(detector, kept, Event(), Said(), now=now).round(now)
    with reading(postgres_engine) as connection:
        assert connection.scalar(text("SELECT count(*) FROM snapshots")) == 1
        assert connection.scalar(text("SELECT sum(attempted) FROM daily_counts")) == 4
        for table, parts in before.items():
            assert parts[0] not in parts_of(connection, table)


def test_a_host_writes_for_itself_alone(login: Callable[[str, str], Engine]) -> None:
    """One host's login can neither add to another host, nor see that there is one."""
    one, other = login("bastion-1", "detector_collector"), login("bastion-2", "detector_collector")
    with writing(one) as connection:
        host_id = SnapshotWriter("bastion-1").write(connection, _snapshot("bastion-1")).host_id
    with pytest.raises(StoreError, match="row-level security"), writing(other) as connection:
        SnapshotWriter("bastion-1").write(connection, _snapshot("bastion-1"))
    assert _refused(other, f'INSERT INTO snapshots (host_id, seq, start, "end") VALUES ({host_id}, 9, now(), now())')
    assert _refused(other, f"INSERT INTO packed_counts VALUES ({host_id}, 1, now(), 0, '')")
    with reading(other) as connection:
        for table, column in (("hosts", "host"), ("snapshots", "seq"), ("connection_keys", "key_id")):
            assert connection.scalars(text(f"SELECT {column} FROM {table}")).all() == []


def test_a_login_for_any_host_stores_for_several(login: Callable[[str, str], Engine]) -> None:
    """Where hosts share a login, it adds to all of them, and changes none."""
    engine = login("bastions", "detector_any_collector")
    for host in ("bastion-1", "bastion-2"):
        with writing(engine) as connection:
            SnapshotWriter(host).write(connection, _snapshot(host))
    assert _refused(engine, "DELETE FROM snapshots")
    assert _refused(engine, "SELECT executable FROM connection_keys")


def test_detection_makes_parts_that_collectors_write_to(login: Callable[[str, str], Engine]) -> None:
    """A part that one detector makes takes what collectors add, gives them nothing beyond that, and is dropped by
    another detector.
    """
    detector, other = login("worker-1", "detector_detector"), login("worker-2", "detector_detector")
    collector = login("bastion-1", "detector_collector")
    bounds = "PARTITION OF {0} FOR VALUES FROM ('2026-03-02') TO ('2026-03-03')"
    with writing(detector) as connection:
        for table in ("snapshots", "packed_counts"):
            connection.execute(text(f"CREATE TABLE {table}_20260302 " + bounds.format(table)))
    with writing(collector) as connection:
        SnapshotWriter("bastion-1").write(connection, _snapshot("bastion-1"))
    assert _refused(collector, "SELECT * FROM snapshots_20260302")
    assert _refused(collector, "DELETE FROM packed_counts_20260302")
    with writing(detector) as connection:
        assert connection.scalar(text("SELECT count(*) FROM snapshots_20260302")) == 1
    with writing(other) as connection:
        connection.execute(text("DROP TABLE packed_counts_20260302"))


def test_readers_read_and_nothing_else(login: Callable[[str, str], Engine]) -> None:
    """`query` works for a reader's login, which can write nothing."""
    collector, reader = login("bastion-1", "detector_collector"), login("carol", "detector_reader")
    with writing(collector) as connection:
        SnapshotWriter("bastion-1").write(connection, _snapshot("bastion-1"))
    check_current(reader)
    with reading(reader) as connection:
        page = history.find(connection, HistoryFilter(), limit=10)
    assert [row["remote_name"] for row in page.rows] == ["db.example.org"]
    assert _refused(reader, "INSERT INTO hosts (host, created_at) VALUES ('x', now())")
    assert _refused(reader, "DELETE FROM alerts")
