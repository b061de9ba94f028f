"""Opening, making and guarding the database."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import func, insert, select, text

from detector import shipped
from detector.errors import ConfigError, StoreAwayError, StoreError
from detector.store.engine import open_store, parse_url, place, reading, writing
from detector.store.migrating import check_current, revisions, upgrade
from detector.store.tables import hosts
from tests.builders import START

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

_NOBODY = 65_534


@pytest.fixture
def private_umask() -> Iterator[None]:
    """The umask of most systems, whatever runs the tests."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.usefixtures("private_umask")
def test_the_database_is_private(tmp_path: Path) -> None:
    """The file and its companions are for owner and group alone, from the first moment, and so is the folder."""
    path = tmp_path / "state" / "detector.db"
    engine = open_store(f"sqlite:///{path}")

    upgrade(engine)

    with engine.connect():
        modes = {each.name: each.stat().st_mode & 0o777 for each in path.parent.iterdir()}
    engine.dispose()
    assert modes["detector.db"] == 0o640
    assert set(modes.values()) == {0o640}
    assert "detector.db-wal" in modes
    assert path.parent.stat().st_mode & 0o777 == 0o750


def test_the_first_upgrade_makes_the_schema(tmp_path: Path) -> None:
    """An empty database is brought to the newest revision, and is then current."""
    engine = open_store(f"sqlite:///{tmp_path / 'detector.db'}")

    before, after = upgrade(engine)

    assert before is None
    assert after
    check_current(engine)
    engine.dispose()


def test_the_second_upgrade_changes_nothing(engine: Engine) -> None:
    """Upgrading what is current keeps the rows and says so."""
    with writing(engine) as connection:
        connection.execute(insert(hosts).values(host="bastion-1", created_at=START))

    before, after = upgrade(engine)

    assert before == after
    with reading(engine) as connection:
        assert list(connection.scalars(select(hosts.c.host))) == ["bastion-1"]


def test_revisions_are_those_of_the_migrations() -> None:
    """The names of the files say what Alembic reads in them: each revision, in the order of the migrations."""
    scripts = ScriptDirectory(str(shipped.folder("migrations")))

    assert revisions() == [each.revision for each in scripts.walk_revisions()][::-1]


def test_a_newer_schema_is_refused(engine: Engine) -> None:
    """A database of a later version is neither used nor touched, and the remedy is the right one."""
    with writing(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    for use in (check_current, upgrade):
        with pytest.raises(StoreError, match="9999, is not known to this version") as fault:
            use(engine)
        assert "newer" in fault.value.hint
    with reading(engine) as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "9999"


def test_an_empty_database_is_refused_with_the_remedy(tmp_path: Path) -> None:
    """Whoever reads a database without tables is told to upgrade it."""
    (tmp_path / "detector.db").touch()
    engine = open_store(f"sqlite:///{tmp_path / 'detector.db'}")

    with pytest.raises(StoreError, match="schema is empty") as fault:
        check_current(engine)

    assert fault.value.hint == "run: detector db upgrade"
    engine.dispose()


def test_a_missing_database_is_not_made_by_looking(tmp_path: Path) -> None:
    """Asking for the schema of a missing file says so and leaves no file behind."""
    engine = open_store(f"sqlite:///{tmp_path / 'detector.db'}")

    with pytest.raises(StoreError, match="there is no database at") as fault:
        check_current(engine)

    assert fault.value.hint == "run: detector db upgrade"
    assert list(tmp_path.iterdir()) == []


def test_a_closed_folder_is_named(tmp_path: Path) -> None:
    """A user who may not look into the state folder is told which file it is about, not that it is missing."""
    folder = tmp_path / "state"
    engine = open_store(f"sqlite:///{folder / 'detector.db'}")
    upgrade(engine)
    check_current(engine)
    engine.dispose()
    folder.chmod(0)
    user = os.geteuid()
    os.seteuid(_NOBODY if user == 0 else user)
    try:
        with pytest.raises(StoreError, match=r"detector\.db: Permission denied") as fault:
            check_current(engine)
    finally:
        os.seteuid(user)
        folder.chmod(0o700)
    assert "group" in fault.value.hint


def test_a_copy_that_root_put_back_is_told_with_the_command_that_gives_it_to_the_service() -> None:
    """The service has the folder, and not the file: to run it as the file's owner would be to run it as root."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        path = folder / "detector.db"
        path.touch(mode=0o600)
        os.chown(folder, _NOBODY, _NOBODY)
        user = os.geteuid()
        os.seteuid(_NOBODY)
        try:
            with pytest.raises(StoreError, match=r"detector\.db: Permission denied") as fault:
                upgrade(open_store(f"sqlite:///{path}"))
        finally:
            os.seteuid(user)
        subprocess.run(fault.value.hint.split(": ", 1)[1].split(), check=True)
        assert path.stat().st_uid == _NOBODY


def test_a_folder_that_is_closed_meanwhile_takes_the_database_away_until_it_is_open(sqlite_url: str) -> None:
    """Of who is connected, and of who connects; both go on when it is open again."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        path = Path(shutil.copy(sqlite_url.removeprefix("sqlite:///"), folder))
        for each in (folder, path):
            os.chown(each, _NOBODY, _NOBODY)
        user = os.geteuid()
        os.seteuid(_NOBODY)
        try:
            connected, connecting = open_store(f"sqlite:///{path}"), open_store(f"sqlite:///{path}")
            check_current(connected)
            folder.chmod(0)
            for engine in (connected, connecting):
                with pytest.raises(StoreAwayError, match=r"Permission denied|unable to open"), writing(engine):
                    pass
            folder.chmod(0o700)
            for engine in (connected, connecting):
                with writing(engine) as connection:
                    assert connection.scalar(select(func.count()).select_from(hosts)) == 0
                engine.dispose()
        finally:
            os.seteuid(user)


@pytest.fixture
def for_reading(sqlite_url: str, tmp_path: Path) -> Iterator[str]:
    """An SQLite database that nobody has open and that this process, which is nobody's for the time, may only read."""
    path = tmp_path / "detector.db"
    path.chmod(0o644)
    closed = [each for each in path.parents if each.stat().st_mode & 0o005 != 0o005]
    modes = [each.stat().st_mode for each in closed]
    user = os.geteuid()
    for folder in closed:
        folder.chmod(0o755)
    os.seteuid(_NOBODY if user == 0 else user)
    yield sqlite_url
    os.seteuid(user)
    for folder, mode in zip(closed, modes, strict=True):
        folder.chmod(mode)


def _as_root(act: Callable[[], None]) -> None:
    user = os.geteuid()
    os.seteuid(0)
    act()
    os.seteuid(user)


def test_who_may_only_read_a_file_that_nobody_has_open_reads_it_and_changes_nothing(for_reading: str) -> None:
    """SQLite would write beside it; a change is refused, and the remedy is named."""
    engine = open_store(for_reading)
    check_current(engine)
    with pytest.raises(StoreError, match="attempt to write a readonly database") as fault, writing(engine) as opened:
        opened.execute(insert(hosts).values(host="bastion-1", created_at=START))
    engine.dispose()
    assert "as the file's owner" in fault.value.hint


def test_who_may_only_read_sees_what_is_written_between_two_questions(for_reading: str) -> None:
    """Whether the writer is still there or has gone again."""
    engine, writer = open_store(for_reading), open_store(for_reading)
    seen = []
    for name, leave in (("bastion-1", True), ("bastion-2", False), ("bastion-3", False)):

        def write(name: str = name) -> None:
            with writing(writer) as opened:
                opened.execute(insert(hosts).values(host=name, created_at=START))

        _as_root(write)
        if leave:
            _as_root(writer.dispose)
        with reading(engine) as opened:
            seen.append(opened.scalar(select(func.count()).select_from(hosts)))
    _as_root(writer.dispose)
    engine.dispose()
    assert seen == [1, 2, 3]


def test_an_answer_during_which_a_writer_came_is_not_given(for_reading: str) -> None:
    """It might be of two states of the database."""
    engine, writer = open_store(for_reading), open_store(for_reading)

    def write() -> None:
        with writing(writer) as opened:
            opened.execute(insert(hosts).values(host="bastion-1", created_at=START))

    def read() -> None:
        with reading(engine) as opened:
            opened.execute(select(hosts)).fetchall()
            _as_root(write)

    with pytest.raises(StoreAwayError, match="changed while it was read"):
        read()
    _as_root(writer.dispose)
    engine.dispose()


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    """Something else in the place of the database is refused by its path, and stays as it is."""
    path = tmp_path / "detector.db"
    path.write_text("not a database" * 100)
    engine = open_store(f"sqlite:///{path}")

    for use in (check_current, upgrade):
        with pytest.raises(StoreError, match="file is not a database") as fault:
            use(engine)
        assert str(path) in fault.value.message
    engine.dispose()
    assert path.read_text() == "not a database" * 100


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """When the state folder cannot be made, the message has the path and the reason."""
    (tmp_path / "state").write_text("a file where the folder should be")
    engine = open_store(f"sqlite:///{tmp_path / 'state' / 'detector.db'}")

    with pytest.raises(StoreError, match=r"/state is not a folder") as fault:
        upgrade(engine)

    assert "[database] url" in fault.value.hint


@pytest.mark.parametrize("options", ["", "?password=hush", "?bogus=hush"])
def test_an_unreachable_postgres_is_said_without_its_password(options: str) -> None:
    """The message names the server and never the password, wherever in the address it stands."""
    engine = open_store(f"postgresql://detector:s3cret@127.0.0.1:1/detector{options}")

    for use in (check_current, upgrade):
        with pytest.raises(StoreError) as fault:
            use(engine)
        assert "127.0.0.1" in fault.value.message
        assert "s3cret" not in fault.value.message + fault.value.hint
        assert "hush" not in fault.value.message + fault.value.hint
    assert place(engine) == "postgresql://detector@127.0.0.1:1/detector"


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("", "is not a database address"),
        ("detector.db", "is not a database address"),
        ("postgresql://host:s3cret/detector", "is not a database address"),
        ("mysql://detector:s3cret@host/detector", "'mysql', which is not supported"),
        ("postgresql://detector:pass@s3cret@127.0.0.1/detector", "more than one @"),
        ("sqlite://var/lib/detector.db", "names a host, which SQLite has not"),
    ],
)
def test_other_addresses_are_refused(url: str, what: str) -> None:
    """What is not an address of SQLite or Postgres is refused with what would be one, and is not repeated."""
    with pytest.raises(ConfigError, match=what) as fault:
        open_store(url)
    assert fault.value.hint
    assert "s3cret" not in fault.value.message + fault.value.hint


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("postgresql://host/detector", "postgresql+psycopg"),
        ("postgresql+psycopg2://host/detector", "postgresql+psycopg"),
        ("sqlite:///detector.db", "sqlite"),
        ("sqlite+aiosqlite:///detector.db", "sqlite"),
    ],
)
def test_the_driver_is_the_one_that_ships(url: str, driver: str) -> None:
    """Whichever driver an address names, the one that is installed is used."""
    assert parse_url(url).drivername == driver


def test_a_transaction_that_fails_leaves_nothing(engine: Engine) -> None:
    """What was written before an exception is rolled back."""

    def write_and_fail() -> None:
        with writing(engine) as connection:
            connection.execute(insert(hosts).values(host="bastion-1", created_at=START))
            raise LookupError

    with pytest.raises(LookupError):
        write_and_fail()

    with reading(engine) as connection:
        assert connection.scalar(select(hosts.c.host)) is None


def test_a_second_writer_waits(sqlite_engine: Engine, sqlite_url: str) -> None:
    """Two processes that read and then write take turns: neither fails, and the second sees what the first wrote."""
    other = open_store(sqlite_url)
    events: list[str] = []

    def write() -> None:
        with writing(other) as connection:
            events.append("second begins")
            seen = connection.scalar(select(hosts.c.host))
            connection.execute(insert(hosts).values(host=f"after {seen}", created_at=START))

    second = threading.Thread(target=write)
    with writing(sqlite_engine) as connection:
        assert connection.scalar(select(hosts.c.host)) is None
        second.start()
        time.sleep(0.2)
        connection.execute(insert(hosts).values(host="bastion-1", created_at=START))
        events.append("first ends")
    second.join(timeout=60)
    other.dispose()

    assert events == ["first ends", "second begins"]
    with reading(sqlite_engine) as connection:
        assert set(connection.scalars(select(hosts.c.host))) == {"bastion-1", "after bastion-1"}


def test_a_writer_does_not_wait_for_ever(
    sqlite_engine: Engine, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When another process does not end its transaction, that is said, with where to look."""
    monkeypatch.setattr("detector.store.sqlite.SQLITE_BUSY_SECONDS", 0.1)
    other = open_store(sqlite_url)

    def write() -> None:
        with writing(other):
            pass

    with writing(sqlite_engine), pytest.raises(StoreError, match="database is locked") as fault:
        write()
    other.dispose()
    assert "see who holds the file" in fault.value.hint


def test_a_reader_does_not_wait_for_a_writer(engine: Engine) -> None:
    """While someone writes, readers see the state before, at once."""
    with writing(engine) as connection:
        connection.execute(insert(hosts).values(host="bastion-1", created_at=START))
        with reading(engine) as other:
            assert other.scalar(select(hosts.c.host)) is None


def test_a_reader_sees_one_state(engine: Engine) -> None:
    """What is written during a reading transaction is not seen within it, so that its parts fit together."""
    with reading(engine) as connection:
        assert connection.scalar(select(hosts.c.host)) is None
        with writing(engine) as other:
            other.execute(insert(hosts).values(host="bastion-1", created_at=START))
        assert connection.scalar(select(hosts.c.host)) is None
