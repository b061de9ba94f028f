"""`detector verify`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import delete, update

from detector.store.engine import writing
from detector.store.tables import hosts, packed_counts, snapshots
from tests.builders import Recorder, count

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from tests.cli.conftest import Call


@pytest.fixture
def filled(engine: Engine) -> Engine:
    """Eight snapshots of a host."""
    recorder = Recorder(engine)
    for _ in range(8):
        recorder.snapshot(count())
    return engine


@pytest.mark.usefixtures("filled")
def test_it_prints_a_hash_to_be_noted(call: Call) -> None:
    """It holds later, and for whoever has it."""
    first = call("verify")
    noted = first.lines[1].removeprefix("  to be noted elsewhere: ")

    again = call("verify", "--noted", noted)

    assert first.code == 0
    assert first.lines[0] == "bastion-1: 8 snapshots hold together"
    assert noted.startswith("bastion-1:8:")
    assert (again.code, again.err) == (0, "")


def test_it_names_what_is_not_as_it_was(call: Call, filled: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing, what was changed, and that a noted hash is another one; the exit code is 1."""
    monkeypatch.setenv("TZ", "UTC")
    with writing(filled) as connection:
        for table in (packed_counts, snapshots):
            connection.execute(delete(table).where(table.c.seq.in_([3, 4])))
        connection.execute(update(snapshots).where(snapshots.c.seq == 6).values(late_seconds=3.0))

    result = call("verify", "--noted", f"bastion-1:8:{'ab' * 32}")

    assert result.code == 1
    assert [line.split(" (")[0] for line in result.lines[:4]] == [
        "bastion-1: snapshots 3 to 4 are missing",
        "bastion-1: snapshot 6 is not the one that was written",
        "bastion-1: snapshot 8 has another hash than was noted",
        "bastion-1: 6 snapshots were looked at",
    ]
    assert "in 3 places what is stored is not what was written" in result.err


def test_changed_ones_that_follow_upon_one_another_are_one_break(call: Call, filled: Engine) -> None:
    """Who changes the name of a host changes all it has, which is no line for each of a month's."""
    with writing(filled) as connection:
        connection.execute(update(hosts).values(host="another"))
    result, objects = call("verify"), call("verify", "--json")
    assert result.code == 1
    assert result.lines[0].startswith("another: snapshots 1 to 8 are not those that were written (from the beginning, ")
    assert result.lines[1] == "another: 8 snapshots were looked at"
    assert "in 1 place what is stored is not what was written" in result.err
    (host,) = json.loads(objects.out)
    assert [(each["first"], each["last"]) for each in host["breaks"]] == [(1, 8)]


def test_json_says_the_same(call: Call, filled: Engine) -> None:
    """One object for each host."""
    with writing(filled) as connection:
        connection.execute(update(snapshots).where(snapshots.c.seq == 6).values(late_seconds=3.0))

    result = call("verify", "--json")

    (host,) = json.loads(result.out)
    assert (result.code, host["host"], host["snapshots"], host["last"]) == (1, "bastion-1", 8, 8)
    assert [(each["kind"], each["first"], each["last"]) for each in host["breaks"]] == [("changed", 6, 6)]


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("noted", ["bastion-1", "bastion-1:x:ab", "bastion-1:1:ab", f":1:{'ab' * 32}"])
def test_what_is_no_hash_is_refused(call: Call, noted: str) -> None:
    """With what is expected."""
    result = call("verify", "--noted", noted)

    assert result.code == 2
    assert "is not HOST:SNAPSHOT:HASH, as detector verify prints it" in " ".join(result.err.split())


@pytest.mark.usefixtures("filled")
def test_a_noted_hash_of_an_unknown_host_is_refused(call: Call) -> None:
    """A misspelt name must not look like a chain that holds."""
    result = call("verify", "--noted", f"bastion-2:1:{'ab' * 32}")

    assert result.code == 2
    assert "there is no host bastion-2" in result.err


@pytest.mark.usefixtures("engine")
def test_an_empty_database_is_no_fault(call: Call) -> None:
    """There is nothing yet."""
    assert call("verify").lines == ["there is nothing to verify yet"]
