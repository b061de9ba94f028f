"""`detector db status`, `prune`, `vacuum`, `backup` and `downgrade`."""

from __future__ import annotations

import json
import re
import sqlite3
import stat
from datetime import UTC, datetime, timedelta
from io import StringIO
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, select, update

from detector.store import cursors, rollups
from detector.store.engine import open_store, reading, writing
from detector.store.migrating import revisions
from detector.store.tables import hosts
from detector.store.tables import snapshots as snapshots_table
from tests.builders import Recorder, count, observe
from tests.cli.terminals import Terminal, shown_on
from tests.disks import fill, small_disk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine

    from tests.cli.conftest import Call

_NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def filled(store: str) -> Iterator[Engine]:
    """A database with three snapshots of 40 days ago, one of yesterday and two of today."""
    engine = open_store(store)
    for days in (40, 0):
        recorder = Recorder(engine, now=_NOW - timedelta(days=days, hours=27))
        for number in range(3):
            ref = recorder.snapshot(*(count(f"10.0.{days}.{i}", session=number) for i in range(50)))
            observe(engine, ref)
            with writing(engine) as connection:
                cursors.advance_cursor(connection, ref)
            if number == 0:
                recorder.pass_time(hours=24)
    yield engine
    engine.dispose()


def _number(engine: Engine) -> int:
    with reading(engine) as connection:
        return connection.scalar(select(func.count()).select_from(snapshots_table)) or 0


def test_status_says_what_there_is(call: Call, filled: Engine) -> None:
    """Where it is, how large, how fast it grows, how long things are kept, and each host and table."""
    with writing(filled) as connection:
        connection.execute(update(hosts).values(given_up=7, host="bastion\x1b[2J"))

    result = call("db", "status")

    assert result.code == 0
    assert result.lines[0] == f"{filled.url.database}, schema {revisions()[-1]}"
    assert result.lines[1].startswith("size: ")
    assert "of at most 4,000 MB" in result.lines[1]
    assert "kept: snapshots 30 days, hours 180 days, days 1095 days, alerts 1095 days" in result.out
    assert any(line.startswith("connection_keys") and line.endswith("100") for line in result.lines)
    assert "\x1b" not in result.out
    assert "bastion" in result.out


@pytest.mark.usefixtures("filled")
def test_no_column_is_cut_or_left_out_on_a_narrow_terminal(store: str) -> None:
    """What must not be folded has its room; the terminal breaks the line."""
    shown = shown_on(80, "db", "status", environment={"DETECTOR_DATABASE_URL": store})
    title, line = next((title, line) for title, line in pairwise(shown) if "not added up" in title)
    assert [each.strip() for each in title.split("  ") if each.strip()] == [
        "host", "snapshots", "oldest", "newest", "not seen", "not added up", "given up", "a day"
    ]  # fmt: skip
    assert len(re.findall(r"\d\d:\d\d:\d\d\+00:00", line)) == 2


def test_status_as_json(call: Call, filled: Engine) -> None:
    """The same for scripts: sizes in bytes, times in UTC."""
    said = json.loads(call("db", "status", "--json").out)

    (host,) = said["hosts"]
    assert (host["host"], host["snapshots"], host["not_seen"]) == ("bastion-1", 6, 0)
    assert host["bytes_per_day"] > 0
    assert said["database"] == filled.url.database
    assert said["retention_days"]["snapshots"] == 30
    assert said["size"]["on_disk"] >= said["size"]["used"] > 0


def test_prune_deletes_what_has_expired(call: Call, filled: Engine) -> None:
    """What is older than configured goes after it was added up; a second time there is nothing to do."""
    tried = call("db", "prune", "--dry-run")
    assert "would go: 3 snapshots" in tried.out
    assert _number(filled) == 6

    first, second = call("db", "prune"), call("db", "prune")

    assert (first.code, second.code) == (0, 0)
    assert "deleted: 3 snapshots" in first.out
    assert "deleted" not in second.out
    assert _number(filled) == 3


def _declined(store: str, *arguments: str) -> str:
    """What a command shows that asks, and is told no."""
    with Terminal(*arguments, environment={"DETECTOR_DATABASE_URL": store}) as terminal:
        shown = terminal.expect("[y/N]")
        terminal.type("n")
        code, _ = terminal.end()
    assert code != 0
    return shown


def test_a_clock_that_may_be_wrong_is_asked_about(call: Call, filled: Engine, store: str) -> None:
    """A clock that is far ahead makes everything look old. Where nothing would go, nothing is asked."""
    with writing(filled) as connection:
        yesterday = _NOW - timedelta(days=1)
        connection.execute(
            update(snapshots_table)
            .where(snapshots_table.c.end < yesterday)
            .values(start=_NOW - timedelta(days=40, minutes=1), end=_NOW - timedelta(days=40))
        )
    assert "nothing was stored between one day and two days ago" in _declined(store, "db", "prune")
    assert _number(filled) == 6
    assert "nothing was stored" in call("db", "prune", "--dry-run").out
    assert call("db", "prune", "--yes").code == 0
    assert call("db", "prune").code == 0


def test_more_than_configured_goes_only_when_confirmed(call: Call, filled: Engine, store: str) -> None:
    """A shorter time than configured is asked about; `--yes` answers. The newest snapshot stays."""
    assert "would go: 5 snapshots" in _declined(store, "db", "prune", "--older-than", "1h")
    assert _number(filled) == 6

    assert call("db", "prune", "--older-than", "1h", "--yes").code == 0

    assert _number(filled) == 1


def test_a_backup_is_a_whole_database_of_the_owners(call: Call, filled: Engine, tmp_path: Path) -> None:
    """The copy opens like the database and holds what it held; only its owner reads it; none is replaced unasked."""
    file = tmp_path / "copy.db"

    first, second = call("db", "backup", file), call("db", "backup", file)
    Recorder(filled, now=_NOW).snapshot(count())
    third = call("db", "backup", "--force", file)

    assert (first.code, second.code, third.code) == (0, 74, 0)
    assert "there already" in second.err
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    engine = open_store(f"sqlite:///{file}")
    assert _number(engine) == 7
    engine.dispose()
    assert [each.name for each in tmp_path.iterdir() if "partial" in each.name] == []


def test_a_backup_is_one_state_while_others_write(filled: Engine, tmp_path: Path) -> None:
    """Snapshots that are stored while it is copied neither hold it up nor come in halves; they are not part of it."""
    from detector.store.backup import backup

    recorder = Recorder(filled, now=_NOW)
    told = []

    def progress(left: int, total: int) -> None:
        told.append((left, total))
        recorder.snapshot(*(count(f"10.9.{len(told)}.{i}") for i in range(50)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("detector.store.backup._PAGES_AT_ONCE", 5)
        backup(filled, tmp_path / "copy.db", replace=False, progress=progress)

    assert len(told) > 3
    copy = sqlite3.connect(tmp_path / "copy.db")
    assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert copy.execute("SELECT count(*) FROM snapshots").fetchone() == (6,)
    copy.close()


def test_an_interrupted_backup_leaves_nothing(filled: Engine, tmp_path: Path) -> None:
    """Ctrl-C leaves neither a half file nor a changed one."""
    from detector.store.backup import backup

    folder = tmp_path / "backups"
    folder.mkdir()
    (folder / "copy.db").write_text("the one before")

    def interrupt(_left: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backup(filled, folder / "copy.db", replace=True, progress=interrupt)

    assert [each.name for each in folder.iterdir()] == ["copy.db"]
    assert (folder / "copy.db").read_text() == "the one before"


@pytest.mark.postgres
def test_postgres_has_its_own_program(
    call: Call, postgres_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The command is named in full, but for the password."""
    monkeypatch.setenv("DETECTOR_DATABASE_URL", postgres_url.replace("tests@", "tests:s3cret@"))

    result = call("db", "backup", tmp_path / "copy.dump")

    assert result.code == 74
    assert f"pg_dump --format=custom --file={tmp_path / 'copy.dump'} --host=127.0.0.1" in result.err
    assert "s3cret" not in result.err
    assert call("db", "status").code == 0
    assert call("db", "vacuum").code == 0
    assert call("db", "prune").code == 0


def test_an_older_file_is_rewritten_once(call: Call, filled: Engine) -> None:
    """A file that cannot become smaller says so, and can after `db vacuum`."""
    filled.dispose()
    raw = sqlite3.connect(str(filled.url.database))
    raw.execute("PRAGMA journal_mode=DELETE")
    raw.execute("PRAGMA auto_vacuum=NONE")
    raw.execute("VACUUM")
    raw.close()
    assert "run once: detector db vacuum" in call("db", "status").out

    result = call("db", "vacuum")

    assert result.code == 0
    assert "nobody can write" in result.err
    assert "run once" not in call("db", "status").out
    assert _number(filled) == 6


def test_without_room_nothing_is_rewritten(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk has no room for the copy, that is said before anything is done."""
    with small_disk(tmp_path / "disk", "4m") as disk:
        url = f"sqlite:///{disk / 'detector.db'}"
        monkeypatch.setenv("DETECTOR_DATABASE_URL", url)
        assert call("db", "upgrade").code == 0
        engine = open_store(url)
        Recorder(engine).snapshot(count())
        fill(disk)

        result = call("db", "vacuum", "--full")

        assert _number(engine) == 1
        engine.dispose()
    assert result.code == 74
    assert "are free" in result.err
    assert "detector db prune" in result.err


def test_what_is_free_is_given_back(call: Call, filled: Engine) -> None:
    """After much was deleted the file becomes smaller, without being rewritten."""
    with writing(filled) as connection:
        connection.exec_driver_sql("CREATE TABLE ballast (x)")
        connection.exec_driver_sql("INSERT INTO ballast VALUES (zeroblob(5000000))")
    with writing(filled) as connection:
        connection.exec_driver_sql("DROP TABLE ballast")
    before = json.loads(call("db", "status", "--json").out)["size"]

    assert call("db", "vacuum").code == 0

    after = json.loads(call("db", "status", "--json").out)["size"]
    assert before["free"] > 4_000_000
    assert after["free"] == 0
    assert after["on_disk"] < before["on_disk"] - 4_000_000


def test_a_database_is_taken_back_when_confirmed(call: Call, filled: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """For an older version the schema goes back, and what it holds stays; a schema that is none is refused."""
    monkeypatch.setattr("sys.stdin", StringIO("n\n"))
    assert call("db", "downgrade", "0004").code != 0
    unknown = call("db", "downgrade", "0099", "--yes")
    done = call("db", "downgrade", "0004", "--yes")

    assert unknown.code == 74
    assert "there is no schema 0099" in unknown.err
    assert done.out == f"{filled.url.database}: taken back from schema {revisions()[-1]} to 0004\n"
    assert call("query").code == 74
    assert call("db", "upgrade").code == 0
    assert _number(filled) == 6


def test_doctor_tells_of_what_was_given_up(call: Call, filled: Engine) -> None:
    """Snapshots that went unseen are a fault, with what to do."""
    with writing(filled) as connection:
        connection.execute(update(hosts).values(given_up=7))

    result = call("doctor")

    assert "7 snapshots of bastion-1 had to go for the size of the database" in result.out


def test_added_up_is_what_prune_adds_up(call: Call, filled: Engine) -> None:
    """What was seen and not added up yet is added up first: nothing goes that hours and days do not know of."""
    call("db", "prune")

    assert rollups.advance(filled, 1, now=_NOW).snapshots == 0
    assert "100" in call("db", "status").out
