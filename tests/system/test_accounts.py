"""Who may do what: the service's account, members of its group, and everybody else. With real accounts."""

from __future__ import annotations

import json
import re
import signal
import socket
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from detector.store.engine import open_store
from tests.builders import START, Recorder, count, insert_alert
from tests.system.accounts import Place, accounts, place

if TYPE_CHECKING:
    from collections.abc import Iterator

_DAC_READ_SEARCH = 1 << 2


@pytest.fixture(scope="module")
def reachable() -> Iterator[Place]:
    """The program, where every account can reach it."""
    with place() as made:
        yield made


@pytest.fixture(scope="module")
def people(reachable: Place) -> Iterator[tuple[str, str, str]]:
    """The service's account, which owns a database made by root, a member of its group, and a stranger."""
    state = reachable.folder / "state"
    with accounts("service", "member", "stranger", member_of={"member": "service"}) as (service, member, stranger):
        state.mkdir(mode=0o750)
        subprocess.run(["chown", f"{service}:{service}", state], check=True)
        made = reachable.run("db", "upgrade")
        assert made.returncode == 0, made.stderr
        engine = open_store(f"sqlite:///{state / 'detector.db'}")
        Recorder(engine).snapshot(count(user="alice"))
        insert_alert(engine)
        engine.dispose()
        yield service, member, stranger


def test_what_root_makes_belongs_to_the_service(reachable: Place, people: tuple[str, str, str]) -> None:
    """The database is its account's, and for its group to read."""
    database = reachable.folder / "state" / "detector.db"
    assert (database.owner(), database.group(), database.stat().st_mode & 0o777) == (people[0], people[0], 0o640)


@pytest.mark.parametrize("at_work", [False, True], ids=["stopped", "at work"])
def test_a_member_of_the_group_reads_and_does_nothing_else(
    reachable: Place, people: tuple[str, str, str], *, at_work: bool
) -> None:
    """Queries and alerts, whether or not the service runs; nothing is answered, muted or made."""
    _, member, _ = people
    database = reachable.folder / "state" / "detector.db"
    writer = sqlite3.connect(database, isolation_level=None) if at_work else None
    if writer:
        writer.execute("BEGIN IMMEDIATE")
    since = f"{START:%Y-%m-%d}"
    rows = reachable.run("query", "--since", since, "--json", user=member)
    assert [row["user"] for row in json.loads(rows.stdout)] == ["alice"], rows.stderr
    listed = reachable.run("alerts", "list", "--json", user=member)
    assert len(json.loads(listed.stdout)) == 1, listed.stderr
    if writer:
        writer.execute("ROLLBACK")
        writer.close()
        return
    before = database.read_bytes()
    change = ("silence", "add", "user=alice", "--for", "1h", "--reason", "maintenance")
    refused = reachable.run(*change, user=member)
    assert refused.returncode == 74, (refused.stdout, refused.stderr)
    assert "as the file's owner" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert database.read_bytes() == before
    assert sorted(path.name for path in database.parent.iterdir()) == ["detector.db"]


def test_a_stranger_is_told_nothing_but_who_may_ask(reachable: Place, people: tuple[str, str, str]) -> None:
    """No row, no alert, and the way to be let in."""
    for question in (("query",), ("alerts", "list"), ("db", "status")):
        refused = reachable.run(*question, user=people[2])
        assert (refused.returncode, refused.stdout) == (74, "")
        assert "Permission denied" in refused.stderr
        assert "as a member of the group" in refused.stderr


@pytest.mark.kernel
def test_run_leaves_the_work_to_the_account_and_loads_as_root(reachable: Place, people: tuple[str, str, str]) -> None:
    """Both roles are the account's, the collector with one capability; what is compiled for the kernel stays root's."""
    service = people[0]
    with subprocess.Popen(
        reachable.command("run", "--user", service),
        env=reachable.environment, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        said = _until_snapshots(process, 2)
        roles = _roles(process.pid)
        status = {role: _status(pid) for role, pid in roles.items()}
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert roles.keys() == {"collect", "detect"}, said
    uid = (reachable.folder / "state").stat().st_uid
    assert {name: each["Uid"].split() for name, each in status.items()} == dict.fromkeys(roles, [str(uid)] * 4)
    held = {name: {int(each[kind], 16) for kind in ("CapPrm", "CapEff")} for name, each in status.items()}
    assert held == {"collect": {_DAC_READ_SEARCH}, "detect": {0}}
    assert [each["NoNewPrivs"] for each in status.values()] == ["1", "1"]
    owners = {path.owner() for path in (reachable.folder / "state").rglob("*")}
    assert owners == {service}
    assert {path.owner() for path in (reachable.folder / "cache").rglob("*")} == {"root"}
    # The kernel forgets whom a process ends with when its account changes.
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in roles.values()):
        assert time.monotonic() < deadline
        time.sleep(0.05)  # waits for other processes, which have no other way to tell


def _until_snapshots(process: subprocess.Popen[str], number: int) -> str:
    said = ""
    assert process.stdout
    for line in process.stdout:
        said += line
        if len(re.findall(r"snapshot \d", said)) >= number and "learning" in said:
            return said
    raise AssertionError(said)


def _roles(pid: int) -> dict[str, int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    found = {}
    for child in children:
        words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
        found.update({role: int(child) for role in ("collect", "detect") if role.encode() in words})
    return found


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@pytest.mark.kernel
def test_the_service_manager_is_told_when_collect_counts_and_when_it_ends(reachable: Place) -> None:
    """Ready comes with the first count, signs of life follow, and a stop is told."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(reachable.folder / "notify"))
        manager.settimeout(60)
        state = reachable.folder / "managed"
        environment = {
            **reachable.environment,
            "DETECTOR_STATE_FOLDER": str(state),
            "NOTIFY_SOCKET": str(reachable.folder / "notify"),
            "WATCHDOG_USEC": "400000",
        }
        subprocess.run(reachable.command("db", "upgrade"), env=environment, check=True, capture_output=True, cwd="/")
        with subprocess.Popen(
            reachable.command("collect"), env=environment, cwd="/", stdout=subprocess.DEVNULL
        ) as process:
            told = [manager.recv(100) for _ in range(6)]
            process.terminate()
            while told[-1] != b"STOPPING=1":
                told.append(manager.recv(100))
            assert process.wait(60) == 0
    assert told == [b"READY=1", *[b"WATCHDOG=1"] * (len(told) - 2), b"STOPPING=1"]
