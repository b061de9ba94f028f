"""Fixtures that more than one folder of tests uses."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from sqlalchemy import make_url, text
from xdist.scheduler import LoadFileScheduling

from detector.bpf import capture
from detector.store.engine import open_store
from detector.store.migrating import upgrade

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine
    from xdist.remote import Producer

# Whoever runs the tests in the background has Ctrl-C ignored, and so would every program that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes is a matter of what else the machine does.
settings.register_profile("quick", deadline=None, max_examples=40)
settings.register_profile("thorough", deadline=None, max_examples=100)

# Tests of the kernel that neither look at what others connect nor connect much themselves.
_BESIDE_OTHERS = frozenset({
    "tests/bpf/test_older_kernels.py", "tests/bpf/test_preflight.py", "tests/cli/test_doctor.py",
    "tests/system/test_damaged_database.py", "tests/system/test_lightness.py", "tests/system/test_supervision.py",
    "tests/system/test_wheel.py",
})  # fmt: skip

# Where tests of the kernel are: to read all the others takes as long as a good many of them.
_OF_KERNEL = ("tests/bpf", "tests/cli/test_doctor.py", "tests/collector", "tests/system", "tests/torture")

_IN_MEMORY = Path("/dev/shm")
_ROOMY_BYTES = 4_000_000_000


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--thorough`: tests that take long are run too, and some others for longer."""
    parser.addoption("--thorough", action="store_true", help="run what takes long too")


def pytest_configure(config: pytest.Config) -> None:
    """Before tests are read, which say how many examples they take by what is usual: see `tests.examples`."""
    settings.load_profile("thorough" if config.getoption("thorough") else "quick")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Where only tests of the kernel are asked for, files are left out in which there are none."""
    if not config.option.markexpr.startswith("kernel"):
        return None
    path = collection_path.relative_to(config.rootpath)
    above_or_below = (path.is_relative_to(each) or Path(each).is_relative_to(path) for each in _OF_KERNEL)
    return None if any(above_or_below) else True


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What mostly waits comes first: one worker begins with it, and the others have the processors meanwhile."""
    for item in items:
        if item.get_closest_marker("kernel") and not item.nodeid.startswith(_OF_KERNEL):
            raise pytest.UsageError(f"{item.nodeid} is a test of the kernel: name its file in {__name__}._OF_KERNEL")
    items.sort(key=lambda item: not item.nodeid.startswith("tests/system/"))
    if not config.getoption("thorough"):
        left_out = [item for item in items if item.get_closest_marker("thorough")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def thorough(pytestconfig: pytest.Config) -> bool:
    """Whether a test may take long."""
    return bool(pytestconfig.getoption("thorough"))


class _OneCounts(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """Each file to one worker, and to a single one all those whose tests would see each other's connects."""

    def _split_scope(self, nodeid: str) -> str:
        file = str(super()._split_scope(nodeid))
        return file if file in _BESIDE_OTHERS else "counting"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> _OneCounts | None:
    """`--dist loadfile` is for tests of the kernel."""
    return _OneCounts(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.fixture(scope="session", autouse=True)
def _kept_programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Kernel programs are compiled once for each size of their maps, and nothing is kept on the machine."""
    folder = tmp_path_factory.mktemp("programs")
    folder.chmod(0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(capture, "CACHE", str(folder))
        patch.setenv("DETECTOR_COLLECTOR_CACHE_FOLDER", str(folder))
        yield


@pytest.fixture(scope="session")
def _empty_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite database with the current schema, to be copied: migrating takes far longer than copying."""
    path = tmp_path_factory.mktemp("empty") / "detector.db"
    engine = open_store(f"sqlite:///{path}")
    upgrade(engine)
    engine.dispose()
    # All of it is in the one file.
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    return path


@pytest.fixture
def sqlite_url(_empty_sqlite: Path, tmp_path: Path) -> str:
    """Address of an empty SQLite database with the current schema."""
    path = tmp_path / "detector.db"
    shutil.copy(_empty_sqlite, path)
    return f"sqlite:///{path}"


@pytest.fixture
def sqlite_engine(sqlite_url: str) -> Iterator[Engine]:
    """An engine on an empty SQLite database with the current schema."""
    engine = open_store(sqlite_url)
    yield engine
    engine.dispose()


def _postgres_programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    assert found, "Postgres is not installed: apt-get install postgresql (make test does)"
    return found[-1].parent


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A real Postgres server on loopback for the session; gives the address of its maintenance database."""
    programs = _postgres_programs()
    # A folder of its own: the server refuses to run as root, and pytest's folders are root's alone. In memory where
    # there is room: making a database for a test takes a tenth of the time.
    roomy = _IN_MEMORY.is_dir() and shutil.disk_usage(_IN_MEMORY).free > _ROOMY_BYTES
    folder = Path(tempfile.mkdtemp(prefix="detector-postgres-", dir=_IN_MEMORY if roomy else None))
    as_server: list[str | Path] = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if as_server:
        shutil.chown(folder, "postgres", "postgres")
    data = folder / "data"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    subprocess.run(
        [*as_server, programs / "initdb", "-D", data, "-A", "trust", "-U", "tests", "-E", "UTF8", "--no-sync"],
        check=True,
        capture_output=True,
        cwd="/",
    )
    options = f"-c listen_addresses=127.0.0.1 -p {port} -c unix_socket_directories={folder} -c fsync=off"
    control = [*as_server, programs / "pg_ctl", "-D", data, "-w", "-l", folder / "log"]
    subprocess.run([*control, "-o", options, "start"], check=True, capture_output=True, cwd="/")
    yield f"postgresql://tests@127.0.0.1:{port}/postgres"
    subprocess.run([*control, "-m", "immediate", "stop"], check=True, capture_output=True, cwd="/")
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def _postgres_admin(postgres_server: str) -> Iterator[Engine]:
    """Makes and drops databases."""
    admin = open_store(postgres_server).execution_options(isolation_level="AUTOCOMMIT")
    yield admin
    admin.dispose()


@pytest.fixture(scope="session")
def _empty_postgres(postgres_server: str, _postgres_admin: Engine) -> str:
    """The name of a database with the current schema, to be copied: migrating takes far longer than copying."""
    name = "empty"
    with _postgres_admin.connect() as connection:
        connection.execute(text(f'CREATE DATABASE "{name}"'))
    engine = open_store(_database(postgres_server, name))
    upgrade(engine)
    # The server copies no database that anybody is connected to.
    engine.dispose()
    return name


def _database(server: str, name: str) -> str:
    return make_url(server).set(database=name).render_as_string(hide_password=False)


@pytest.fixture
def postgres_url(
    postgres_server: str, _postgres_admin: Engine, _empty_postgres: str, request: pytest.FixtureRequest
) -> Iterator[str]:
    """Address of an empty Postgres database with the current schema."""
    name = f"t{abs(hash(request.node.nodeid)):x}"
    with _postgres_admin.connect() as connection:
        connection.execute(text(f'CREATE DATABASE "{name}" TEMPLATE "{_empty_postgres}" STRATEGY FILE_COPY'))
    yield _database(postgres_server, name)
    with _postgres_admin.connect() as connection:
        connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))


@pytest.fixture
def postgres_engine(postgres_url: str) -> Iterator[Engine]:
    """An engine on an empty Postgres database with the current schema."""
    engine = open_store(postgres_url)
    yield engine
    engine.dispose()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def engine(request: pytest.FixtureRequest) -> Engine:
    """The test runs twice: on SQLite and on a real Postgres."""
    chosen: Engine = request.getfixturevalue(f"{request.param}_engine")
    return chosen
