"""A damaged SQLite file is set aside, once, and a new one is in its place."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, select

from detector.errors import StoreAwayError, StoreDamagedError, StoreError
from detector.store.engine import open_store, reading, writing
from detector.store.migrating import check_current
from detector.store.replacement import replace_damaged
from detector.store.tables import packed_counts, replacements, snapshots
from tests.builders import START, Recorder, count

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine


def _filled(engine: Engine, number: int = 60) -> Recorder:
    recorder = Recorder(engine)
    for turn in range(number):
        recorder.snapshot(*(count(f"10.0.{turn}.{row}", 22) for row in range(20)))
    # All into the file itself.
    with engine.connect() as connection:
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()
    return recorder


def _damage(path: Path, how: str) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        if how == "truncated":
            file.truncate(size // 2 // 4096 * 4096)
        elif how == "emptied":
            file.truncate(0)
        elif how == "header":
            file.write(b"no database at all")
        else:
            random = Random(1)
            for page in range(1, size // 4096):
                file.seek(page * 4096)
                file.write(random.randbytes(4096))


def _use(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.execute(select(func.max(packed_counts.c.content))).all()


@pytest.mark.parametrize("how", ["truncated", "emptied", "header", "pages"])
def test_damage_is_told_from_other_faults(sqlite_engine: Engine, tmp_path: Path, how: str) -> None:
    """Whatever was done to the file, its use says that it is damaged, and which file it was."""
    _filled(sqlite_engine)
    path = tmp_path / "detector.db"
    _damage(path, how)
    with pytest.raises(StoreDamagedError) as fault:
        _use(sqlite_engine)
    assert fault.value.inode in {None, path.stat().st_ino}
    assert "sets the file aside" in fault.value.hint


def test_other_faults_are_no_damage(sqlite_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock is waited for, a file that cannot be opened too."""
    monkeypatch.setattr("detector.store.sqlite.SQLITE_BUSY_SECONDS", 0.05)
    other = open_store(f"sqlite:///{tmp_path / 'detector.db'}")
    with writing(sqlite_engine), pytest.raises(StoreAwayError, match="locked"):
        _use(other)
    other.dispose()
    nowhere = open_store(f"sqlite:///{tmp_path / 'folder' / 'detector.db'}")
    with pytest.raises(StoreAwayError, match="unable to open"):
        _use(nowhere)
    nowhere.dispose()


@pytest.mark.parametrize("how", ["truncated", "header"])
def test_a_damaged_database_is_set_aside_and_the_new_one_says_so(
    sqlite_engine: Engine, tmp_path: Path, how: str
) -> None:
    """The old file is there to be looked at, the new one has the current schema, the mode of the old one, and its first
    snapshot of each host says where the old one is.
    """
    recorder = _filled(sqlite_engine)
    path = tmp_path / "detector.db"
    path.chmod(0o660)
    _damage(path, how)
    content = path.read_bytes()
    with pytest.raises(StoreDamagedError) as fault:
        _use(sqlite_engine)
    url = f"sqlite:///{path}"
    aside = replace_damaged(url, inode=fault.value.inode, reason=fault.value.message, now=START)
    assert aside == tmp_path / "detector.db.damaged-20260302T090000Z"
    assert aside.read_bytes() == content
    assert path.stat().st_mode & 0o777 == 0o660
    sqlite_engine.dispose()
    check_current(sqlite_engine)
    recorder.writer.forget()
    recorder.snapshot(count())
    recorder.snapshot(count())
    Recorder(sqlite_engine, host="bastion-2").snapshot()
    with reading(sqlite_engine) as connection:
        told = connection.scalars(select(snapshots.c.set_aside).order_by(snapshots.c.host_id, snapshots.c.seq)).all()
        assert connection.scalar(select(replacements.c.reason)) == fault.value.message
    assert told == [str(aside), None, str(aside)]
    assert not list(tmp_path.glob("*.new*"))


def test_it_is_done_once(sqlite_engine: Engine, tmp_path: Path) -> None:
    """Whoever comes second, with the old file open or not, does nothing; nor is it done again within a minute."""
    _filled(sqlite_engine, 2)
    path = tmp_path / "detector.db"
    url = f"sqlite:///{path}"
    inode = path.stat().st_ino
    _damage(path, "header")
    assert replace_damaged(url, inode=inode, reason="damaged", now=START)
    assert replace_damaged(url, inode=inode, reason="damaged", now=START + timedelta(hours=1)) is None
    _damage(path, "header")
    assert replace_damaged(url, inode=None, reason="damaged", now=START + timedelta(seconds=59)) is None
    assert replace_damaged(url, inode=None, reason="damaged", now=START + timedelta(seconds=61))
    assert len(list(tmp_path.glob("detector.db.damaged-*Z"))) == 2


def test_of_many_processes_at_once_one_does_it(sqlite_engine: Engine, tmp_path: Path) -> None:
    """All of them end well, and one new database is there."""
    _filled(sqlite_engine, 2)
    path = tmp_path / "detector.db"
    wanted = json.dumps({"url": f"sqlite:///{path}", "inode": path.stat().st_ino, "reason": "damaged"})
    _damage(path, "header")
    command = [sys.executable, "-m", "detector.store.replacement"]
    running = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = [process.communicate(wanted)[0] for process in running]
    assert sorted(text.split()[1] for text in said) == ["was", "was", "was"]
    assert sum("set aside" in text for text in said) == 1
    assert len(list(tmp_path.glob("detector.db.damaged-*Z"))) == 1
    check_current(sqlite_engine)


def test_what_is_committed_to_a_file_that_was_set_aside_is_not_stored(sqlite_engine: Engine, tmp_path: Path) -> None:
    """The file is replaced in the middle of a transaction: its writer is told, and writes again."""
    recorder = Recorder(sqlite_engine)
    path = tmp_path / "detector.db"

    def write() -> None:
        with writing(sqlite_engine) as connection:
            connection.execute(select(snapshots.c.seq)).all()
            replace_damaged(f"sqlite:///{path}", inode=None, reason="damaged", now=START)

    with pytest.raises(StoreError, match="was removed or replaced"):
        write()
    with pytest.raises(StoreError, match="was removed or replaced"):
        recorder.snapshot(count())
    recorder.writer.forget()
    assert recorder.snapshot(count()).seq == 1


def test_a_file_that_cannot_be_moved_is_named(tmp_path: Path) -> None:
    """There is nothing to set aside: that is an error with the file's name."""
    with pytest.raises(StoreError, match=r"detector\.db: it could not be replaced: No such file"):
        replace_damaged(f"sqlite:///{tmp_path}/detector.db", inode=None, reason="damaged", now=START)
