"""The migrations make the tables that the code was written for, and bring the rows that are there along."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import func, insert, inspect, select, text

from detector.domain import Losses, SnapshotRef
from detector.errors import StoreError
from detector.store import cursors, tables
from detector.store.alerts import alert_rows, list_alerts
from detector.store.engine import reading, writing
from detector.store.filters import HistoryFilter
from detector.store.health import find_incomplete
from detector.store.history import find
from detector.store.imports import Standing, standing
from detector.store.migrating import check_current, upgrade
from tests.builders import START, Recorder, count, stored, take_back

if TYPE_CHECKING:
    from sqlalchemy import Engine

_INTERVAL = timedelta(seconds=10)
_COUNTS = [
    count("10.0.4.12", 22, attempted=3, established=2, refused=1, handshake_us_total=900, handshake_us_max=600),
    count("fd00::1", 443, executable=None, command=None, login_user=None, unit=None, session=7),
    count("10.0.4.9", 22, direction="inbound", user=None, container="web", established=5),
]


def test_the_migrated_schema_is_that_of_the_tables(engine: Engine) -> None:
    """Tables, columns, types, keys and indexes: nothing is left to migrate, on SQLite and on Postgres."""
    with engine.connect() as connection:
        # Postgres' parts of tables are tables too.
        ours = {"include_name": lambda name, kind, _: kind != "table" or name in tables.metadata.tables}
        context = MigrationContext.configure(connection, opts={"compare_type": True, **ours})
        assert compare_metadata(context, tables.metadata) == []


@pytest.fixture
def first_release(engine: Engine) -> Engine:
    """A database of the first release, as it left it: two snapshots of the same rows, an alert and what hangs on it."""
    take_back(engine, "0001")
    with pytest.raises(StoreError, match="the database's schema is 0001, this version needs") as fault:
        check_current(engine)
    assert fault.value.hint == "run: detector db upgrade"
    with writing(engine) as connection:
        for name, rows in _first_rows().items():
            connection.execute(insert(tables.metadata.tables[name]), rows)
    return engine


def _first_rows() -> dict[str, list[dict[str, Any]]]:
    """Rows by table, parents first; none has a column that the first release had not."""
    ends = [START + _INTERVAL, START + 2 * _INTERVAL]
    seen = {"first_seen": START, "last_seen": ends[1]}
    words = ("direction", "protocol", "executable", "command", "user", "login_user", "unit", "container")
    places = ("remote_address", "remote_port", "local_port")
    numbers = ("attempted", "established", "refused", "timed_out", "failed", "handshake_us_total", "handshake_us_max")
    totals = dict.fromkeys(("attempted", "established", "refused", "timed_out", "failed", "destinations", "ports"), 1)
    period = {"start": START, "end": ends[1]}
    row = {"seq": 2, "key_id": 1}
    alert = {"alert_id": 1, "host_id": 1, "fingerprint": "0" * 32, "rule_id": "scan", "rule_title": "Scan"}
    said = {"summary": "alice", "explanations": [], "group": {"user": "alice"}, "severity": "high"}
    sent = {"channel": "mail", "reason": "opened", "state": "pending", "created_at": START, "next_attempt_at": START}
    decided = {"rule_id": "scan", "fingerprint": "0" * 32, "alert_id": 1, "decision": "opened", "rows": 1}
    return {
        "hosts": [{"host_id": 1, "host": "bastion-1", "created_at": START}],
        "snapshots": [
            {"host_id": 1, "seq": seq, "start": end - _INTERVAL, "end": end, "lost_missed": seq - 1}
            for seq, end in enumerate(ends, start=1)
        ],
        "connection_keys": [
            {"host_id": 1, "key_id": number, "digest": bytes([number]) * 16, **seen}
            | {name: getattr(each.key, name) for name in (*words, *places)}
            for number, each in enumerate(_COUNTS, start=1)
        ],
        "connection_counts": [
            {"host_id": 1, "seq": seq, "key_id": number, "session": each.session}
            | {name: getattr(each, name) for name in numbers}
            for seq in (1, 2)
            for number, each in enumerate(_COUNTS, start=1)
        ],
        "detection_cursors": [{"host_id": 1, "seq": 2}],
        "observations": [{"host_id": 1, **row, "session": 0, "score": 0.99, "surprise": 2.0, "explanation": "new"}],
        "alerts": [alert | said | totals | period | {"opened_at": START, "finding_count": 1, "notified_magnitude": 1}],
        "findings": [{"host_id": 1, "seq": 2, **decided, **period}],
        "evidence": [{"alert_id": 1, **row, "session": 0, "found_seq": 2}],
        "alert_values": [{"alert_id": 1, "field": "user", "value": "alice"}],
        "notifications": [{"notification_id": 1, "alert_id": 1, "attempts": 0, **sent}],
    }


def test_a_filled_database_is_upgraded(first_release: Engine) -> None:
    """What the first release stored is read back as it was written; what it did not know is unknown."""
    before = _numbers(first_release)

    versions = upgrade(first_release)

    assert versions[0] == "0001"
    check_current(first_release)
    empty = (
        "login_origins",
        "destination_names",
        "imports",
        "replacements",
        "hourly_counts",
        "daily_counts",
        "silences",
        "named_lists",
        "list_ranges",
        "rule_faults",
        "chain_breaks",
        "tamperings",
        "held_findings",
        "kept_windows",
        "noted_fields",
        "seen_terms",
        "usual_counts",
        "model_promises",
        "model_reviews",
        "model_adjustments",
        "alert_verdicts",
        "alert_verdict_keys",
        "alert_verdict_rows",
        "alert_verdict_subjects",
        "model_blocks",
        "model_trainings",
        "alert_events",
        "alert_silences",
        "notices",
        "unanswered",
        "detectors",
        "model_records",
        # Its only user stands with the alert.
        "alert_values",
    )
    # Packed now; what rules look at is unpacked by detection.
    packed = {"packed_counts": 2, "packed_observations": 1, "connection_counts": 0, "observations": 0}
    # Snapshots, those that are not complete, and what was missed.
    totals = {"host_totals": 3}
    assert _numbers(first_release) == before | dict.fromkeys(empty, 0) | packed | totals
    for seq in (1, 2):
        ref = SnapshotRef(
            host_id=1, host="bastion-1", seq=seq, start=START + (seq - 1) * _INTERVAL, end=START + seq * _INTERVAL
        )
        assert [each.count for each in stored(first_release, ref)] == _COUNTS
    with reading(first_release) as connection:
        page = find(connection, HistoryFilter(min_score=0.9), 10)
        assert [(row["executable"], row["score"]) for row in page.rows] == [("/usr/bin/ssh", 0.99)]
        (alert,) = list_alerts(connection)
        assert [row["explanation"] for row in alert_rows(connection, alert.alert_id, 10)] == ["new"]
        (incomplete,) = find_incomplete(connection).found
        assert (incomplete.losses, incomplete.gap_seconds) == (Losses(missed=1), 0.0)
        assert cursors.next_snapshot(connection, 1) is None


def test_an_upgraded_database_is_that_of_the_tables(first_release: Engine) -> None:
    """Upgrading rows along leaves the same schema as making it anew: options of tables and foreign keys too."""
    upgrade(first_release)

    with first_release.connect() as connection:
        # Postgres' parts of tables are tables too.
        ours = {"include_name": lambda name, kind, _: kind != "table" or name in tables.metadata.tables}
        context = MigrationContext.configure(connection, opts={"compare_type": True, **ours})
        assert compare_metadata(context, tables.metadata) == []
    upgraded = _schema(first_release)
    assert {name: references for name, (references, _) in upgraded.items() if name in tables.metadata.tables} == {
        name: sorted(
            f"fk_{name}_{'_'.join(key.column_keys)} {key.referred_table}" for key in table.foreign_key_constraints
        )
        for name, table in tables.metadata.tables.items()
    }
    # A table of the large ones is nothing but its primary key.
    options = {name for name, (_, without_rowid) in upgraded.items() if without_rowid}
    assert options == {
        name
        for name, table in tables.metadata.tables.items()
        if table.dialect_options["sqlite"]["with_rowid"] is False and first_release.dialect.name == "sqlite"
    }


def test_an_upgraded_database_is_written_on(first_release: Engine) -> None:
    """A collector goes on numbering where the first release stopped, and may write what that could not hold."""
    upgrade(first_release)
    recorder = Recorder(first_release, now=START + 2 * _INTERVAL)
    counts = [
        count("10.0.4.12", 22, script="/opt/a.sh", remote_name="db.example.org", login_address="203.0.113.7"),
        count(None, None, protocol="packet"),
    ]

    ref = recorder.snapshot(*counts)

    assert ref.seq == 3
    assert [(each.key_id, each.count) for each in stored(first_release, ref)] == [(4, counts[0]), (5, counts[1])]


def test_what_was_stored_before_there_were_imports_is_a_collectors(first_release: Engine) -> None:
    """Nothing can be imported under the name of a host that is there already; any other one is free."""
    upgrade(first_release)
    with reading(first_release) as connection:
        assert standing(connection, "bastion-2") == Standing()
        with pytest.raises(StoreError, match="a collector stores"):
            standing(connection, "bastion-1")


def test_references_hold_after_an_upgrade(first_release: Engine) -> None:
    """Copying a table that others refer to leaves no orphan, and none can be written afterwards."""
    upgrade(first_release)

    if first_release.dialect.name == "sqlite":
        with reading(first_release) as connection:
            assert connection.execute(text("PRAGMA foreign_key_check")).all() == []
    orphan = {"host_id": 99, "origin_id": 1, "digest": bytes(16)}
    with pytest.raises(StoreError, match=r"(?i)foreign key"), writing(first_release) as connection:
        connection.execute(insert(tables.login_origins).values(**orphan))
    with pytest.raises(StoreError, match=r"(?i)foreign key"), writing(first_release) as connection:
        connection.execute(tables.hosts.delete())


def test_an_upgrade_that_fails_changes_nothing(first_release: Engine) -> None:
    """All of an upgrade is one transaction: what stands in the way leaves the first release's database as it was."""
    with writing(first_release) as connection:
        connection.execute(text("CREATE TABLE destination_names (name TEXT)"))
    before = _schema(first_release)

    with pytest.raises(StoreError, match="already exists"):
        upgrade(first_release)

    assert _schema(first_release) == before
    with reading(first_release) as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "0001"


def _numbers(engine: Engine) -> dict[str, int]:
    with reading(engine) as connection:
        there = set(inspect(connection).get_table_names()) & set(tables.metadata.tables)
        return {
            name: connection.scalar(select(func.count()).select_from(tables.metadata.tables[name])) or 0
            for name in sorted(there)
        }


def _schema(engine: Engine) -> dict[str, tuple[list[str], bool]]:
    """Of each table what refers to others, and whether SQLite keeps it without row numbers."""
    with reading(engine) as connection:
        inspector = inspect(connection)
        names = [name for name in inspector.get_table_names() if name != "alembic_version"]
        foreign = {
            name: sorted(f"{key['name']} {key['referred_table']}" for key in inspector.get_foreign_keys(name))
            for name in names
        }
        statements: dict[str, str] = {}
        if engine.dialect.name == "sqlite":
            rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE type = 'table'"))
            statements = {row.name: row.sql for row in rows}
    return {name: (foreign[name], "WITHOUT ROWID" in statements.get(name, "")) for name in names}
