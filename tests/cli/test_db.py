"""`detector db`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select, text

from detector.store.engine import open_store, reading, writing
from detector.store.migrating import check_current, revisions
from detector.store.tables import hosts
from tests.builders import Recorder, count, take_back

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Call


def test_a_database_is_made_and_then_left_alone(call: Call, tmp_path: Path) -> None:
    """The first upgrade makes the file in the state folder, the second says that there is nothing to do."""
    path = tmp_path / "state" / "detector.db"

    first, second = call("db", "upgrade"), call("db", "upgrade")

    assert (first.code, second.code) == (0, 0)
    assert first.out.startswith(f"{path}: made, schema ")
    schema = first.out.split()[-1]
    assert second.out == f"{path}: already current, schema {schema}\n"
    engine = open_store(f"sqlite:///{path}")
    check_current(engine)
    engine.dispose()


def test_rows_stay(call: Call, store: str) -> None:
    """Upgrading keeps what is stored."""
    engine = open_store(store)
    Recorder(engine).snapshot(count())

    assert call("db", "upgrade").code == 0

    with reading(engine) as connection:
        assert connection.scalar(select(hosts.c.host)) == "bastion-1"
    engine.dispose()


def test_an_old_schema_is_upgraded(call: Call, store: str) -> None:
    """Where there was something to do, both schemas are named; until then the other verbs say what to do."""
    engine = open_store(store)
    take_back(engine, "0001")
    path = store.removeprefix("sqlite:///")

    refused, first, second = call("query"), call("db", "upgrade"), call("db", "upgrade")

    newest = revisions()[-1]
    assert refused.code == 74
    assert refused.err.endswith(f"schema is 0001, this version needs {newest}\n  run: detector db upgrade\n")
    assert first.out == f"{path}: upgraded from schema 0001 to {newest}\n"
    assert second.out == f"{path}: already current, schema {newest}\n"
    check_current(engine)
    engine.dispose()


def test_a_database_is_copied_before_it_is_changed_and_only_then(call: Call, store: str, tmp_path: Path) -> None:
    """The copy has the old schema; where nothing has to be changed, none is made."""
    engine = open_store(store)
    take_back(engine, "0001")
    copy = tmp_path / "before.db"

    first = call("db", "upgrade", "--backup", copy)

    assert first.code == 0
    assert first.out.startswith(f"{copy}: ")
    before = open_store(f"sqlite:///{copy}")
    with reading(before) as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "0001"
    before.dispose()
    check_current(engine)
    engine.dispose()
    copy.unlink()
    assert call("db", "upgrade", "--backup", copy).code == 0
    assert not copy.exists()


def test_a_database_that_cannot_be_copied_is_not_changed(call: Call, store: str, tmp_path: Path) -> None:
    """The old one is all there is."""
    engine = open_store(store)
    take_back(engine, "0001")

    refused = call("db", "upgrade", "--backup", tmp_path / "none" / "before.db")

    assert (refused.code, refused.out) == (74, "")
    with reading(engine) as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "0001"
    engine.dispose()


def test_a_newer_database_is_refused(call: Call, store: str) -> None:
    """A database of a later version is left alone by all verbs, with what to do instead."""
    engine = open_store(store)
    with writing(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()

    for words in (["db", "upgrade"], ["query"]):
        result = call(*words)
        assert result.code == 74
        assert "9999, is not known to this version" in result.err
        assert "a newer one" in result.err


def test_an_unreachable_server_is_one_message(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the database is away its address is named, without the password, and the exit code is 74."""
    monkeypatch.setenv("DETECTOR_DATABASE_URL", "postgresql://detector:s3cret@127.0.0.1:1/detector?password=hush")

    for words in (["db", "upgrade"], ["query"], ["alerts", "list"]):
        result = call(*words)
        assert result.code == 74
        assert "postgresql://detector@127.0.0.1:1/detector: connection failed" in result.err
        assert "s3cret" not in result.err
        assert "hush" not in result.err


@pytest.mark.postgres
def test_postgres_is_upgraded_alike(call: Call, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Postgres database is named without its options, and left alone when current."""
    monkeypatch.setenv("DETECTOR_DATABASE_URL", f"{postgres_url}?application_name=detector")

    result = call("db", "upgrade")

    assert result.code == 0
    assert result.out.startswith(f"{postgres_url}: already current")


@pytest.mark.postgres
def test_a_service_leaves_postgres_alone(call: Call, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It belongs to a fleet, and is upgraded once, by somebody who may; a copy is a matter of pg_dump."""
    engine = open_store(postgres_url)
    take_back(engine, "0001")
    monkeypatch.setenv("DETECTOR_DATABASE_URL", postgres_url)

    left, refused = call("db", "upgrade", "--for-service"), call("db", "upgrade", "--backup", "/tmp/before.db")

    assert (left.code, left.out) == (0, "")
    assert refused.code == 74
    assert "pg_dump" in refused.err
    with reading(engine) as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "0001"
    engine.dispose()
