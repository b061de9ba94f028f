"""`detector query --incomplete`."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from detector.cli.incomplete import _LOSSES
from detector.domain import CaptureHealth, Losses
from tests.builders import START, Recorder, count

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from tests.cli.conftest import Call


@pytest.mark.usefixtures("zone")
def test_a_snapshot_is_a_line(call: Call, engine: Engine) -> None:
    """From when to when, whether anything is missing, and each thing in words; sound ones are left out."""
    recorder = Recorder(engine)
    recorder.snapshot(count(), health=CaptureHealth(self_test_passed=True))
    recorder.snapshot(losses=Losses(attempted=1200, folded=1))
    recorder.snapshot(health=CaptureHealth(late_seconds=2.5, clock_step_seconds=-90.0))
    recorder.pass_time(minutes=10)
    recorder.snapshot(health=CaptureHealth(self_test_passed=False, blind_since=START, suspended_seconds=5400))

    result = call("query", "--incomplete")

    assert (result.code, result.err) == (0, "")
    assert [re.split(r" {2,}", line) for line in result.lines] == [
        ["start (+01:00)", "end (+01:00)", "complete", "missing"],
        [
            "2026-03-02 10:00:10",
            "2026-03-02 10:00:20",
            "no",
            "1,200 attempts not counted, 1 connect without address and port: too many keys",
        ],
        ["2026-03-02 10:00:20", "2026-03-02 10:00:30", "yes", "drained 2.5 s late, clock set back by 1.5 min"],
        [
            "2026-03-02 10:10:30",
            "2026-03-02 10:10:40",
            "no",
            "blind since 2026-03-02 10:00:00+01:00, nobody watched for 10 min before, suspended for 1.5 h",
        ],
    ]


@pytest.mark.parametrize(
    ("health", "said"),
    [
        (CaptureHealth(self_test_passed=False), "blind: the self-test failed"),
        (CaptureHealth(clock_step_seconds=86_400 * 3), "clock set forward by 3 d"),
        (CaptureHealth(unseen=("a", "b c")), "not seen on this kernel: a; b c"),
    ],
)
def test_each_thing_is_put_into_words(call: Call, engine: Engine, health: CaptureHealth, said: str) -> None:
    """Words that say what it means."""
    Recorder(engine).snapshot(health=health)

    assert re.split(r" {2,}", call("query", "--incomplete").lines[1])[3] == said


def test_each_loss_has_its_words(call: Call, engine: Engine) -> None:
    """Every kind of loss is told, by its number."""
    assert [*_LOSSES] == [field.name for field in fields(Losses)]
    Recorder(engine).snapshot(losses=Losses(**dict.fromkeys(_LOSSES, 2)))

    words = re.split(r" {2,}", call("query", "--incomplete").lines[1])[3].split(", ")
    assert len(words) == len(_LOSSES)
    assert all(each.startswith("2 ") for each in words)


@pytest.mark.usefixtures("zone")
def test_json_has_every_field(call: Call, engine: Engine) -> None:
    """An object has the names of the documentation, in their order; times are in UTC."""
    health = CaptureHealth(self_test_passed=False, blind_since=START - timedelta(hours=1), unseen=("a", "b"))
    recorder = Recorder(engine)
    recorder.snapshot()
    recorder.pass_time(seconds=90)
    recorder.snapshot(health=health, losses=Losses(names=3))

    result = call("query", "--incomplete", "--json")

    (found,) = json.loads(result.out)
    zeros = {f"lost_{field.name}": 0 for field in fields(Losses)}
    assert found == {
        "host": "bastion-1",
        "start": "2026-03-02T09:01:40Z",
        "end": "2026-03-02T09:01:50Z",
        "complete": False,
        "missing": [
            "blind since 2026-03-02T08:00:00Z",
            "nobody watched for 1.5 min before",
            "3 DNS answers not read",
            "not seen on this kernel: a; b",
        ],
        **zeros,
        "lost_names": 3,
        "self_test_passed": False,
        "blind_since": "2026-03-02T08:00:00Z",
        "late_seconds": 0.0,
        "clock_step_seconds": 0.0,
        "suspended_seconds": 0.0,
        "gap_seconds": 90.0,
        "waited_seconds": 0.0,
        "set_aside": None,
        "unseen": ["a", "b"],
    }
    manual = (Path(__file__).parent.parent.parent / "docs" / "commands.md").read_text()
    listed = manual[manual.index("An object of `query --incomplete` has:") : manual.index("`gap_seconds` is how long")]
    assert re.findall(r"`([a-z_]+)`", listed) == [*found]


def test_only_the_newest_are_shown(call: Call, engine: Engine) -> None:
    """Of more than --limit it is said that there are; hosts are named when there are several."""
    for host in ("bastion-1", "bastion-2"):
        recorder = Recorder(engine, host=host)
        for _ in range(3):
            recorder.snapshot(losses=Losses(missed=1))

    every, newest = call("query", "--incomplete"), call("query", "--incomplete", "--limit", "5")
    one = call("query", "--incomplete", "--host", "*-2", "--since", "2026-03-02T09:00:10Z")

    assert (len(every.lines), every.err) == (7, "")
    assert [line.split()[0] for line in newest.lines] == ["host", "bastion-2", *["bastion-1", "bastion-2"] * 2]
    assert newest.err == "there are older ones too: narrow the search, or raise --limit\n"
    assert len(one.lines) == 3


def test_nothing_incomplete_is_said(call: Call, engine: Engine) -> None:
    """That all is well is told apart from that there is nothing to look at."""
    Recorder(engine).snapshot(count())

    sound, none = call("query", "--incomplete"), call("query", "--incomplete", "--until", "2026-03-01")
    objects = call("query", "--incomplete", "--json")

    assert (sound.code, sound.out, sound.err) == (0, "", "complete: 1 snapshot\n")
    assert (none.code, none.out, none.err) == (0, "", "no snapshots match\n")
    assert (objects.code, objects.out, objects.err) == (0, "[]\n", "")


def test_what_chooses_among_rows_is_refused(call: Call, engine: Engine) -> None:
    """An option that would be passed over is a fault of the command line."""
    Recorder(engine).snapshot(count())

    result = call("query", "--incomplete", "--user", "alice", "--to", "10.0.0.0/8", "--since", "2h")

    assert result.code == 2
    assert "--incomplete shows snapshots, which --user, --to cannot choose among" in result.err
