"""Schemas go up and down with what is stored in place, and several processes at once migrate once."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import MetaData, func, insert, inspect, select, text

from detector import shipped
from detector.store import cursors
from detector.store.engine import open_store, reading, transaction, writing
from detector.store.migrating import check_current, downgrade, revisions, upgrade
from detector.store.tables import metadata
from tests.builders import START, Recorder, count, insert_alert, observe, take_back
from tests.test_migrations import _first_rows

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

_REVISIONS = revisions()
# Each step is tried by itself on both. The whole way up and back takes a second from each: from all only thoroughly.
_ALWAYS = {"sqlite": (_REVISIONS[0], _REVISIONS[8], _REVISIONS[-2]), "postgres": (_REVISIONS[4], _REVISIONS[-2])}
_STARTS = [
    pytest.param(
        kind,
        each,
        id=f"{kind}-{each}",
        marks=[
            *([pytest.mark.postgres] if kind == "postgres" else []),
            *([] if each in always else [pytest.mark.thorough]),
        ],
    )
    for kind, always in _ALWAYS.items()
    for each in _REVISIONS
]
_PROGRAM = "import sys; from detector.cli import main; sys.exit(main(['db', 'upgrade']))"


def _rows(engine: Engine) -> dict[str, list[str]]:
    """All rows of all tables, less their parts."""
    with reading(engine) as connection:
        there = MetaData()
        there.reflect(connection, only=lambda name, _: name in metadata.tables)
        return {
            name: sorted(repr(tuple(row)) for row in connection.execute(select(table)))
            for name, table in there.tables.items()
        }


def _columns(engine: Engine) -> dict[str, Any]:
    with reading(engine) as connection:
        look = inspect(connection)
        return {
            name: (
                sorted((each["name"], str(each["type"]), each["nullable"]) for each in look.get_columns(name)),
                sorted(each["name"] or "" for each in look.get_indexes(name)),
                sorted(each["name"] or "" for each in look.get_foreign_keys(name)),
                look.get_pk_constraint(name)["constrained_columns"],
            )
            for name in look.get_table_names()
            if name in metadata.tables
        }


@pytest.fixture
def database(request: pytest.FixtureRequest) -> Engine:
    """An empty database of the kind that the test is run with."""
    chosen: Engine = request.getfixturevalue(f"{request.param}_engine")
    return chosen


@pytest.fixture
def filled(database: Engine) -> Engine:
    """A database of the current schema with something of everything."""
    recorder = Recorder(database)
    for number in range(3):
        ref = recorder.snapshot(
            count("10.0.4.12", 22, attempted=3, established=2, refused=1, script="/opt/a.sh", session=number),
            count("10.0.4.13", 443, login_address="203.0.113.7", remote_name="db.example.org"),
            count(None, None, protocol="packet"),
        )
        observe(database, ref, {1: {"score": 0.99, "explanation": "new"}})
        with writing(database) as connection:
            cursors.advance_cursor(connection, ref)
    insert_alert(database, alert_id=1)
    found = {"host_id": 1, "rule_id": "scan", "fingerprint": "f" * 32, "alert_id": 1, "decision": "opened", "rows": 1}
    with writing(database) as connection:
        for seq in (1, 2):
            span = {"seq": seq, "start": START, "end": START}
            connection.execute(insert(metadata.tables["findings"]).values(**found, **span))
        for key_id in (1, 3):
            row = {"alert_id": 1, "seq": 2, "key_id": key_id, "session": 1, "found_seq": 2}
            connection.execute(insert(metadata.tables["evidence"]).values(**row))
    return database


@pytest.mark.parametrize(
    ("database", "revision"), [each for each in _STARTS if each.values[1] != _REVISIONS[-1]], indirect=["database"]
)
def test_a_filled_database_goes_down_and_up(filled: Engine, revision: str) -> None:
    """Taken back to any older schema and brought up again, a database has all its snapshots, counts and alerts, less
    what the older schema has no room for; and it is that older schema in between.
    """
    with reading(filled) as connection:
        before = {name: connection.scalar(select(func.count()).select_from(t)) for name, t in metadata.tables.items()}

    assert downgrade(filled, revision) == (_REVISIONS[-1], revision)
    older = _columns(filled)
    upgrade(filled)

    check_current(filled)
    with reading(filled) as connection:
        after = {name: connection.scalar(select(func.count()).select_from(t)) for name, t in metadata.tables.items()}
    kept = ("hosts", "snapshots", "packed_counts", "packed_observations", "alerts", "findings", "model_hosts")
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    # Of the three keys one has no address.
    assert after["connection_keys"] == (2 if revision < "0002" else 3)
    assert after["evidence"] == (1 if revision < "0002" else 2)
    take_back(filled, revision)
    assert older == _columns(filled)


@pytest.mark.parametrize(("database", "revision"), _STARTS, indirect=["database"])
def test_a_database_of_any_release_goes_up_and_back(database: Engine, revision: str) -> None:
    """What an older schema holds is there again, to the last column, when it was upgraded and taken back."""
    take_back(database, "0001")
    with writing(database) as connection:
        for name, rows in _first_rows().items():
            connection.execute(insert(metadata.tables[name]), rows)
    _upgrade_to(database, revision)
    before, columns = _rows(database), _columns(database)

    upgrade(database)
    downgrade(database, revision)

    after = _rows(database)
    assert _columns(database) == columns
    # The rows of the last snapshots for rules are made anew by detection.
    for name in ("connection_counts", "observations") if revision >= "0005" else ():
        after[name] = before[name]
    assert after == before


def _upgrade_to(engine: Engine, revision: str) -> None:
    upgrade(engine)
    if revision != _REVISIONS[-1]:
        downgrade(engine, revision)


def test_forests_go_down_and_up(engine: Engine) -> None:
    """The one in force stays so, in an older version too, where the newest is: a newer one that was refused goes.
    When the last training was is kept.
    """
    same = {"features": [], "parameters": {}, "digest": bytes(16), "content": b"", "rows": 1, "trained_at": START}
    states = {1: ("replaced", "replaced by version 2"), 2: ("in_force", "better"), 3: ("refused", "worse")}
    with writing(engine) as connection:
        for name, row in (
            ("hosts", {"host_id": 1, "host": "bastion-1", "created_at": START}),
            ("model_hosts", {"host_id": 1, "observed_seconds": 7200.0}),
            ("model_trainings", {"host_id": 1, "trained_seconds": 3600.0}),
        ):
            connection.execute(insert(metadata.tables[name]).values(**row))
        for version, (state, reason) in states.items():
            row = {"host_id": 1, "version": version, "state": state, "reason": reason, **same}
            connection.execute(insert(metadata.tables["models"]).values(**row))

    downgrade(engine, "0011")
    with reading(engine) as connection:
        older = connection.execute(text("SELECT version, fault FROM models ORDER BY version")).all()
        assert connection.scalar(text("SELECT trained_seconds FROM model_hosts")) == 3600.0
    upgrade(engine)

    assert [tuple(row) for row in older] == [(1, None), (2, None)]
    with reading(engine) as connection:
        found = connection.execute(text("SELECT version, state, reason FROM models ORDER BY version")).all()
        assert connection.scalar(text("SELECT trained_seconds FROM model_trainings")) == 3600.0
    assert [tuple(row) for row in found] == [(1, "replaced", None), (2, "in_force", None)]


def test_what_rows_say_goes_down_and_up(engine: Engine) -> None:
    """An older version has a row for each value, and a newer one rows only where they differ."""
    Recorder(engine).snapshot(count())
    common = {"port": None, "script": "", "user": "alice"}
    insert_alert(engine, alert_id=1, common=common)
    insert_alert(engine, alert_id=2)
    ports = [{"alert_id": 1, "field": "port", "value": port} for port in ("22", "80")]
    with writing(engine) as connection:
        connection.execute(insert(metadata.tables["alert_values"]), ports)
    every = text("SELECT alert_id, field, value FROM alert_values ORDER BY alert_id, field, value")

    downgrade(engine, "0027")
    with reading(engine) as connection:
        older = connection.execute(every).all()
    upgrade(engine)

    assert [tuple(row) for row in older] == [
        (1, "port", "22"),
        (1, "port", "80"),
        (1, "script", ""),
        (1, "user", "alice"),
    ]
    with reading(engine) as connection:
        assert [tuple(row) for row in connection.execute(every)] == [(1, "port", "22"), (1, "port", "80")]
        columns = metadata.tables["alerts"].c
        said = dict(connection.execute(select(columns.alert_id, columns.common)).all())
    assert said == {1: common, 2: {}}


def test_what_was_told_together_stays_so(engine: Engine) -> None:
    """An older version has another name for it, and no word for who has a message under way."""
    Recorder(engine).snapshot(count())
    insert_alert(engine, alert_id=1)
    times = {"created_at": START, "next_attempt_at": START, "leased_until": START, "leased_by": "boot/1/7:9"}
    sent = {"alert_id": 1, "channel": "mail", "reason": "opened", "state": "pending", "attempts": 0, **times}
    with writing(engine) as connection:
        table = metadata.tables["notifications"]
        connection.execute(insert(table).values(notification_id=4, told_with=3, **sent))

    downgrade(engine, "0028")
    with reading(engine) as connection:
        assert connection.scalar(text("SELECT digest_id FROM notifications")) == 3
    upgrade(engine)

    with reading(engine) as connection:
        (row,) = connection.execute(text("SELECT told_with, leased_by FROM notifications")).all()
    assert tuple(row) == (3, None)


def test_what_channels_said_of_hours_goes(engine: Engine) -> None:
    """An older version would take their hours for those of members; these stay."""
    hours = [{"channel": name, "maximum": 0.5} for name in ("p_novelty", "persistence", "combined")]
    with writing(engine) as connection:
        record = {"channel": "p_novelty", "maximum": 0.2, "hours": 1, "reached": bytes(62)}
        connection.execute(insert(metadata.tables["model_records"]).values(host_id=1, **record))
        connection.execute(
            insert(metadata.tables["model_hours"]), [{"host_id": 1, "hour": 30, **each} for each in hours]
        )

    downgrade(engine, "0029")
    upgrade(engine)

    with reading(engine) as connection:
        names = select(metadata.tables["model_hours"].c.channel).order_by(metadata.tables["model_hours"].c.channel)
        assert connection.scalars(names).all() == ["combined", "persistence"]
        assert not connection.scalar(select(func.count()).select_from(metadata.tables["model_records"]))


def test_each_migration_goes_back_and_forth(engine: Engine) -> None:
    """Going down, each schema is what it was on the way up, and a step up and down again changes nothing of what the
    first release has stored.
    """
    columns = {}
    take_back(engine, "0001")
    with writing(engine) as connection:
        for name, rows in _first_rows().items():
            connection.execute(insert(metadata.tables[name]), rows)
    for revision in _REVISIONS:
        _step(engine, revision)
        columns[revision] = _columns(engine)

    for newer, revision in pairwise(reversed(_REVISIONS)):
        assert downgrade(engine, revision) == (newer, revision)
        assert _columns(engine) == columns[revision], revision
        before = _rows(engine)
        _step(engine, newer)
        downgrade(engine, revision)
        after = _rows(engine)
        # The rows of the last snapshots for rules are made anew by detection.
        for name in ("connection_counts", "observations") if revision >= "0005" else ():
            after[name] = before[name]
        assert after == before, revision
    assert upgrade(engine) == ("0001", _REVISIONS[-1])


def _step(engine: Engine, revision: str) -> None:
    """Upgrades as far as a revision."""
    config = Config()
    config.set_main_option("script_location", str(shipped.folder("migrations")))
    with transaction(engine, detector_writes=True, detector_migrates=True) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


@pytest.mark.parametrize(
    ("kind", "old"),
    [
        pytest.param("sqlite", False, id="empty-sqlite"),
        pytest.param("sqlite", True, id="old-sqlite", marks=pytest.mark.thorough),
        pytest.param("postgres", False, id="empty-postgres", marks=[pytest.mark.postgres, pytest.mark.thorough]),
        pytest.param("postgres", True, id="old-postgres", marks=pytest.mark.postgres),
    ],
)
def test_several_at_once_migrate_once(kind: str, request: pytest.FixtureRequest, tmp_path: Path, old: bool) -> None:
    """Of processes that start at the same moment one makes or upgrades the database, and all find it current."""
    url = f"sqlite:///{tmp_path / 'state' / 'new.db'}" if kind == "sqlite" else request.getfixturevalue("postgres_url")
    if kind == "postgres" or old:
        engine = open_store(url)
        if kind == "sqlite":
            upgrade(engine)
        if old:
            take_back(engine, "0001")
            with writing(engine) as connection:
                for name, rows in _first_rows().items():
                    connection.execute(insert(metadata.tables[name]), rows)
        else:
            with engine.begin() as connection:
                connection.execute(text("DROP SCHEMA public CASCADE"))
                connection.execute(text("CREATE SCHEMA public"))
        engine.dispose()

    environment = {"DETECTOR_DATABASE_URL": url, "PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(sys.path)}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", _PROGRAM], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    said = [process.communicate(timeout=120) for process in started]

    assert [process.returncode for process in started] == [0] * 4, said
    done = [out for out, _ in said if "already current" not in out]
    assert len(done) == 1
    assert ("upgraded from schema 0001" if old else "made") in done[0]
    engine = open_store(url)
    check_current(engine)
    engine.dispose()
