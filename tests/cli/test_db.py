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
