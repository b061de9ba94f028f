"""`detector model`."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pytest
from sqlalchemy import insert, text, update

from detector.config import Models
from detector.models import isolation_forest, registry, training
from detector.models.features import FEATURES
from detector.store import snapshots
from detector.store.engine import reading, writing
from detector.store.tables import evidence, models
from tests.builders import START, Recorder, count, insert_alert, observe, read_counts
from tests.models.conftest import Watched, trained

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from tests.cli.conftest import Call


def _store(engine: Engine, seed: int, *, host: str = "bastion-1", accepted: bool = True) -> None:
    rows = np.random.default_rng(seed).normal(size=(400, len(FEATURES))).astype(np.float32)
    with writing(engine) as connection:
        host_id = snapshots.host_number(connection, host, START)
        registry.store(connection, host_id, trained(isolation_forest.train(rows), accepted=accepted))


def _in_force(engine: Engine, host_id: int = 1) -> int | None:
    with reading(engine) as connection:
        found = registry.in_force(connection, host_id)
    return found.version if found else None


@pytest.fixture
def forests(engine: Engine) -> Engine:
    """A host with a forest that was replaced, one in force, and one that was refused."""
    _store(engine, 0)
    _store(engine, 1)
    _store(engine, 2, accepted=False)
    return engine


@pytest.fixture
def learnt(engine: Engine) -> Engine:
    """A host with enough rows to train on, and no forest yet."""
    watched = Watched(engine, Models(burn_in_hours=0), interval=timedelta(minutes=30))
    watched.restart(trains=False)
    for number in range(24):
        watched.snapshot(*(count(f"10.0.4.{n}", 22 + number % 3, user=f"user-{n % 5}") for n in range(20)))
    return engine


@pytest.mark.usefixtures("zone", "forests")
def test_forests_are_listed_the_newest_last(call: Call) -> None:
    """Each with when it was trained, on how much, what it did on rows held back, and what became of it."""
    result = call("model", "list")

    assert result.code == 0
    assert [line.split() for line in result.lines[1:]] == [
        *(
            [
                "bastion-1",
                "1",
                "2026-03-02",
                "10:00:00",
                "400",
                "0.750",
                "0.010",
                *["replaced", "replaced", "by", "version", "2"],
            ],
        ),
        *(
            [
                "bastion-1",
                "2",
                "2026-03-02",
                "10:00:00",
                "400",
                "0.750",
                "0.010",
                *["in", "force", "as", "the", "test", "wants", "it"],
            ],
        ),
        *(
            [
                "bastion-1",
                "3",
                "2026-03-02",
                "10:00:00",
                "400",
                "0.750",
                "0.010",
                *["refused", "as", "the", "test", "wants", "it"],
            ],
        ),
    ]


@pytest.mark.usefixtures("forests")
def test_forests_as_json(call: Call) -> None:
    """A list of objects with all fields, of one host where that is asked for."""
    first, second, third = json.loads(call("model", "list", "--json").out)

    assert (first["host"], first["version"], first["state"]) == ("bastion-1", 1, "replaced")
    assert (second["state"], second["trained_at"], second["reason"]) == (
        "in_force",
        "2026-03-02T09:00:00Z",
        "as the test wants it",
    )
    assert (second["trained_from"], second["trained_until"]) == ("2026-02-23T09:00:00Z", "2026-03-01T09:00:00Z")
    assert second["figures"] == {"held_back": 80, "separated": 0.75, "beyond": 0.01, "in_force": None}
    assert second["features"] == list(FEATURES)
    assert second["parameters"]["contamination"] == "auto"
    assert third["state"] == "refused"
    assert json.loads(call("model", "list", "--json", "--host", "bastion-2").out) == []


@pytest.mark.usefixtures("store")
def test_without_a_forest_it_is_said_when_one_comes(call: Call) -> None:
    """Nothing on standard output."""
    result = call("model", "list")

    assert (result.code, result.out) == (0, "")
    assert result.err == "no forest was trained yet: the first comes when a host's burn-in is over\n"


def test_a_forest_is_trained_now(call: Call, learnt: Engine) -> None:
    """And is in force at once, if it does no worse than the one that was; with progress on standard error."""
    result = call("model", "train")

    assert (result.code, result.err) == (0, "bastion-1 (1 of 1) …\n")
    assert result.out == "bastion-1: forest 1 is in force: the first one that can be used\n"
    (again,) = json.loads(call("model", "train", "--host", "bastion-1", "--json").out)
    assert (again["host"], again["version"], again["in_force"]) == ("bastion-1", 2, True)
    assert again["figures"]["in_force"]["version"] == 1
    assert _in_force(learnt) == 2


def test_what_cannot_be_trained_is_said(call: Call, engine: Engine) -> None:
    """Why, for each host, and with an exit code."""
    Watched(engine).snapshot(count())

    result = call("model", "train")

    assert result.code == 1
    assert result.out == "bastion-1: no forest was trained: 0 rows to train on, of at least 256\n"
    assert "no forest was trained for 1 of 1 hosts: bastion-1" in result.err


def test_what_another_worker_trains_is_left_to_it(call: Call, learnt: Engine) -> None:
    """Two would do the same twice."""
    from datetime import UTC, datetime

    with writing(learnt) as connection:
        assert training.claim(connection, 1, datetime.now(UTC)) is not None

    result = call("model", "train")

    assert result.code == 1
    assert "bastion-1: another worker is training it right now" in result.out
    assert _in_force(learnt) is None


@pytest.mark.usefixtures("store")
def test_an_unknown_host_is_refused(call: Call) -> None:
    """With the names that there are."""
    result = call("model", "train", "--host", "nowhere")

    assert result.code == 1
    assert result.err == "detector: nothing is stored of a host 'nowhere'\n  there is none yet\n"


def test_the_one_before_is_put_in_force(call: Call, forests: Engine) -> None:
    """Without a version; once more there is none left."""
    result = call("model", "rollback")

    assert (result.code, result.out) == (0, "bastion-1: forest 1 is in force\n")
    assert _in_force(forests) == 1
    again = call("model", "rollback")
    assert again.code == 1
    assert again.err == "detector: bastion-1 has no forest that was in force before\n  stored are: 3, 2, 1\n"


def test_a_version_is_put_in_force(call: Call, forests: Engine) -> None:
    """Any that is stored, also one that was refused; not the one that is in force, nor one that is not there."""
    assert call("model", "rollback", "3", "--host", "bastion-1").code == 0
    assert _in_force(forests) == 3
    assert "forest 3 of bastion-1 is in force already" in call("model", "rollback", "3").err
    assert "bastion-1 has no forest 9\n  stored are: 3, 2, 1" in call("model", "rollback", "9").err


def test_a_damaged_version_is_not_put_in_force(call: Call, forests: Engine) -> None:
    """It is loaded first, and the one in force stays."""
    with writing(forests) as connection:
        connection.execute(update(models).where(models.c.version == 1).values(content=b"PK"))

    result = call("model", "rollback")

    assert result.code == 1
    assert "model 1 of host number 1 was changed since it was stored" in result.err
    assert _in_force(forests) == 2


def _scored(engine: Engine) -> None:
    """A row that novelty found strange, in a snapshot of two, behind an alert."""
    ref = Recorder(engine, interval=timedelta(minutes=5), now=START + timedelta(hours=12)).snapshot(
        count("203.0.113.9", 4444, user="mallory", executable="/tmp/x\x1b[2J"), count("10.0.4.3", 22, user="user-3")
    )
    with reading(engine) as connection:
        stored = {each.count.key.user: each.key_id for each in read_counts(connection, ref)}
    said = {"score": 0.999, "channel": "novelty", "p_novelty": 0.001, "p_volume": 1.0, "explanation": "first contact"}
    observe(engine, ref, {stored["mallory"]: said, stored["user-3"]: {"score": 0.1, "p_novelty": 0.9, "p_volume": 0.8}})
    insert_alert(engine, alert_id=1)
    with writing(engine) as connection:
        row = {"alert_id": 1, "seq": ref.seq, "key_id": stored["mallory"], "session": 0, "found_seq": ref.seq}
        connection.execute(insert(evidence).values(**row))


@pytest.mark.usefixtures("zone")
def test_the_strangest_rows_are_explained(call: Call, learnt: Engine) -> None:
    """Who and where, each channel, what the forest says as a sum, and the closest normal row; safe for a terminal."""
    assert call("model", "train").code == 0
    _scored(learnt)

    result = call("model", "explain", "--since", "2026-03-01", "--limit", "1")

    assert result.code == 0
    assert "\x1b" not in result.out
    lines = result.lines
    assert lines[0].startswith("2026-03-02 22:05:00+01:00  bastion-1  ")
    assert "-> 203.0.113.9:4444" in lines[0]
    assert lines[1] == "  1 established; score 0.9990"
    assert lines[2] == "  first contact"
    assert lines[4:6] == ["    novelty      once in 1,000 h  <- decided", "    volume       at any time"]
    (head,) = [line for line in lines if line.startswith("  forest 1: isolated in ")]
    path, mean = map(float, re.findall(r"[0-9]+\.[0-9]+", head))
    parts = [float(line.split()[0]) for line in lines if re.match(r"    +[+-][0-9]", line)]
    assert sum(parts) == pytest.approx(mean - path, abs=0.05)
    (normal,) = [line for line in lines if line.startswith("  closest normal row: ")]
    assert "/usr/bin/ssh" in normal
    assert lines[-1].startswith("    differs in ")


def test_rows_behind_an_alert_are_explained_as_json(call: Call, learnt: Engine) -> None:
    """With all that the table has, and the row itself under the names of `query`; without a forest that is null."""
    _scored(learnt)

    (found,) = json.loads(call("model", "explain", "--alert", "1", "--json").out)

    assert (found["user"], found["channel"], found["p_novelty"]) == ("mallory", "novelty", 0.001)
    assert found["forest"] is None
    assert found["closest_normal"]["row"]["executable"] == "/usr/bin/ssh"
    assert found["closest_normal"]["distance"] > 0
    assert found["closest_normal"]["differs"]
    call("model", "train")
    (found,) = json.loads(call("model", "explain", "--alert", "1", "--json").out)
    assert {"about", "splits", "seen", "usual"} == set(found["forest"]["parts"][0])


def test_what_cannot_be_explained_is_said(call: Call, learnt: Engine) -> None:
    """Alerts that are not there, rows that were not scored, and two ways of choosing at once."""
    assert call("model", "explain", "--alert", "9").err == (
        "detector: there is no alert 9\n  see: detector alerts list\n"
    )
    insert_alert(learnt, alert_id=1)
    assert "no row that was scored is stored behind alert 1" in call("model", "explain", "--alert", "1").err
    assert call("model", "explain", "--alert", "1", "--user", "x").code == 2
    nothing = call("model", "explain", "--since", "2026-03-01")
    assert (nothing.code, nothing.out) == (0, "")
    assert nothing.err.startswith("nothing that was scored matches")


def test_of_several_hosts_one_is_named(call: Call, forests: Engine) -> None:
    """A rollback of all of them at once is not what a person means."""
    _store(forests, 0, host="bastion-2")

    result = call("model", "rollback")

    assert result.code == 1
    assert result.err == (
        "detector: there are several hosts\n  say which one: --host; there is: bastion-1, bastion-2\n"
    )


def test_rows_that_somebody_has_changed_are_one_message(call: Call, forests: Engine) -> None:
    """What cannot be shown of them names the place, also where it is found out at the end."""
    with writing(forests) as connection:
        connection.execute(text("UPDATE models SET figures = '[3]' WHERE version = 2"))
    result = call("model", "list")
    assert (result.code, result.out) == (74, "")
    said = "table models, host_id 1, version 2: figures holds what detector does not write"
    assert result.err.splitlines()[0].endswith(said)
    assert "Traceback" not in result.err
