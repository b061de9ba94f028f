"""What a snapshot says of how it was taken, and which snapshots are not what they should be."""

from __future__ import annotations

from dataclasses import fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from detector.domain import CaptureHealth, Losses, Snapshot
from detector.store.engine import reading, writing
from detector.store.health import HealthPage, find_incomplete
from detector.store.tables import snapshots
from tests.builders import START, Recorder, count
from tests.examples import examples

if TYPE_CHECKING:
    from sqlalchemy import Engine

_SECOND = timedelta(seconds=1)


def _find(engine: Engine, **wanted: Any) -> HealthPage:
    with reading(engine) as connection:
        return find_incomplete(connection, **wanted)


def _stored(engine: Engine) -> list[dict[str, Any]]:
    with reading(engine) as connection:
        return [dict(row) for row in connection.execute(select(snapshots).order_by(snapshots.c.seq)).mappings()]


def test_health_is_kept(engine: Engine) -> None:
    """Everything that is said of how a snapshot was taken is stored with it, and comes back as it was."""
    health = CaptureHealth(
        self_test_passed=False,
        blind_since=START - timedelta(minutes=7),
        late_seconds=0.25,
        clock_step_seconds=-3.5,
        suspended_seconds=7200.0,
        unseen=("connects refused by routing", "sends of io_uring"),
    )
    losses = Losses(**{field.name: number for number, field in enumerate(fields(Losses), start=1)})

    ref = Recorder(engine).snapshot(losses=losses, health=health)

    (found,) = _find(engine).found
    assert (found.host, found.start, found.end) == (ref.host, ref.start, ref.end)
    assert (found.health, found.losses, found.gap_seconds) == (health, losses, 0.0)
    assert not found.complete


@pytest.mark.parametrize("passed", [None, True])
def test_a_sound_snapshot_is_complete(engine: Engine, passed: bool | None) -> None:
    """Without losses, with a self-test that passed or none, there is nothing to say."""
    Recorder(engine).snapshot(count(), health=CaptureHealth(self_test_passed=passed))

    assert _find(engine) == HealthPage(found=(), more=False, total_snapshots=1)
    assert _stored(engine)[0]["self_test_passed"] is passed


@pytest.mark.parametrize("kind", [field.name for field in fields(Losses)])
def test_any_loss_is_told(engine: Engine, kind: str) -> None:
    """One of any kind of loss makes a snapshot incomplete."""
    recorder = Recorder(engine)
    recorder.snapshot()
    ref = recorder.snapshot(losses=Losses(**{kind: 1}))

    (found,) = _find(engine).found
    assert (found.end, found.complete, found.losses.nonzero()) == (ref.end, False, {kind: 1})


@pytest.mark.parametrize(
    ("health", "complete"),
    [
        (CaptureHealth(self_test_passed=False), False),
        (CaptureHealth(blind_since=START), False),
        (CaptureHealth(late_seconds=0.5), True),
        (CaptureHealth(clock_step_seconds=-0.5), True),
        (CaptureHealth(clock_step_seconds=0.5), True),
        (CaptureHealth(suspended_seconds=30.0), True),
        (CaptureHealth(unseen=("sends of io_uring",)), True),
    ],
)
def test_any_trouble_is_told(engine: Engine, health: CaptureHealth, complete: bool) -> None:
    """Each thing that was not as it should be is found; what was only late or at odds with the clock lost nothing."""
    Recorder(engine).snapshot(count(), health=health)

    (found,) = _find(engine).found
    assert (found.health, found.complete) == (health, complete)


def test_a_gap_is_measured(engine: Engine) -> None:
    """Between a host's snapshots, from the end of one to the start of the next: across restarts, and for each host
    alone. What comes before the first one is no gap.
    """
    recorder = Recorder(engine)
    recorder.snapshot()
    recorder.snapshot()
    recorder.pass_time(minutes=10)
    later = Recorder(engine, now=recorder.now)
    later.snapshot()
    later.snapshot()
    Recorder(engine, host="bastion-2", now=later.now).snapshot()

    assert [row["gap_seconds"] for row in _stored(engine)] == [0.0, 0.0, 0.0, 600.0, 0.0]
    (found,) = _find(engine).found
    assert (found.host, found.gap_seconds, found.complete) == ("bastion-1", 600.0, False)


@pytest.mark.parametrize(("seconds", "gap"), [(-3600, 0.0), (-0.5, 0.0), (0.9, 0.0), (1, 0.0), (1.25, 1.25)])
def test_a_second_is_no_gap(engine: Engine, seconds: float, gap: float) -> None:
    """Clocks are read one after another, and are set back: only more than a second is a gap."""
    recorder = Recorder(engine)
    recorder.snapshot()
    recorder.pass_time(seconds=seconds)
    recorder.snapshot()

    assert [row["gap_seconds"] for row in _stored(engine)] == [0.0, gap]


def test_a_gap_is_measured_once(engine: Engine) -> None:
    """A snapshot that is written again, since its commit was not confirmed, does not follow upon itself."""
    recorder = Recorder(engine)
    recorder.snapshot()
    start = recorder.now + 60 * _SECOND
    snapshot = Snapshot(host="bastion-1", start=start, end=start + 10 * _SECOND, counts=())
    for _ in range(2):
        with writing(engine) as connection:
            recorder.writer.write(connection, snapshot)
        recorder.writer.forget()

    assert [row["gap_seconds"] for row in _stored(engine)] == [0.0, 60.0]


def test_what_a_kernel_does_not_show_is_told_once(engine: Engine) -> None:
    """It is the same in all snapshots: only the first of the period says it, and the first after it changed."""
    recorder = Recorder(engine)
    shown = [(), ("a",), ("a",), ("a", "b"), ("a", "b"), (), (), ("a",)]
    ends = [recorder.snapshot(health=CaptureHealth(unseen=unseen)).end for unseen in shown]

    assert [each.end for each in _find(engine).found] == [ends[1], ends[3], ends[7]]
    assert [each.end for each in _find(engine, since=ends[3]).found] == [ends[4], ends[7]]


def test_the_newest_are_shown(engine: Engine) -> None:
    """Over all hosts, in the order of time, within the period and the hosts asked for."""
    recorders = [Recorder(engine, host=host) for host in ("bastion-1", "bastion-2")]
    for _ in range(3):
        for recorder in recorders:
            recorder.snapshot(losses=Losses(missed=1))
            recorder.snapshot()

    def ends(page: HealthPage) -> list[tuple[str, float]]:
        return [(each.host[-1], (each.end - START).total_seconds()) for each in page.found]

    every = _find(engine)
    assert ends(every) == [("1", 10), ("2", 10), ("1", 30), ("2", 30), ("1", 50), ("2", 50)]
    assert (every.more, every.total_snapshots) == (False, 12)
    newest = _find(engine, limit=3)
    assert (ends(newest), newest.more) == ([("2", 30), ("1", 50), ("2", 50)], True)
    assert ends(_find(engine, host="*-2", since=START + 10 * _SECOND)) == [("2", 30), ("2", 50)]
    assert ends(_find(engine, until=START + 10 * _SECOND)) == [("1", 10), ("2", 10)]
    assert _find(engine, host="web").total_snapshots == 0


_seconds = st.sampled_from([0.0, 0.0, 0.0, 1.5])
_healths = st.builds(
    CaptureHealth,
    self_test_passed=st.sampled_from([None, True, True, False]),
    blind_since=st.sampled_from([None, None, START]),
    late_seconds=_seconds,
    clock_step_seconds=st.sampled_from([0.0, 0.0, -2.0, 2.0]),
    suspended_seconds=_seconds,
)
_SOUND = [CaptureHealth(), CaptureHealth(self_test_passed=True)]
_losses = st.builds(Losses, **{field.name: st.sampled_from([0] * 15 + [1]) for field in fields(Losses)})


@settings(max_examples=examples(50), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(taken=st.lists(st.tuples(_healths, _losses, _seconds), min_size=1, max_size=6))
def test_nothing_is_passed_over(engine: Engine, taken: list[tuple[CaptureHealth, Losses, float]]) -> None:
    """Exactly the snapshots of which anything is to be said are found, and all that is to be said of each."""
    with reading(engine) as connection:
        number = len(connection.execute(select(snapshots.c.host_id).distinct()).all())
    recorder = Recorder(engine, host=f"host {number}")
    expected = []
    for position, (health, losses, gap) in enumerate(taken):
        recorder.pass_time(seconds=gap)
        ref = recorder.snapshot(health=health, losses=losses)
        follows = gap if position else 0.0
        if health not in _SOUND or losses != Losses() or follows:
            expected.append((ref.end, health, losses, follows))

    page = _find(engine, host=f"host {number}")

    assert [(each.end, each.health, each.losses, each.gap_seconds) for each in page.found] == expected
    assert page.total_snapshots == len(taken)
