"""What snapshots add up to: each once, and for good."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, func, insert, select

from detector.config import Settings
from detector.domain import CaptureHealth, Losses
from detector.pipeline import STAGES, detect_next
from detector.ruleset.evaluate import RuleSet
from detector.service.detecting import build_stages
from detector.store import cursors, tables, totals
from detector.store.engine import reading, writing
from detector.store.migrating import downgrade, upgrade
from tests.builders import START, Recorder, count, take_back

if TYPE_CHECKING:
    from sqlalchemy import Engine


def _record(engine: Engine) -> None:
    recorder = Recorder(engine, host="bastion-1", unpacked=False)
    recorder.snapshot(count(attempted=3), count("10.0.4.13", attempted=2), losses=Losses(attempted=4, folded=1))
    recorder.snapshot(count(attempted=7), losses=Losses(attempted=1))
    recorder.pass_time(seconds=60)
    recorder.snapshot(count(), health=CaptureHealth(self_test_passed=False, blind_since=START, late_seconds=2.5))


def _totals(engine: Engine) -> dict[str, dict[str, float]]:
    with reading(engine) as connection:
        found = totals.read(connection)
    return {host: {name: number for name, number in of_host.items() if number} for host, of_host in found.items()}


def test_what_detection_has_seen_is_added_up_once_and_kept_when_snapshots_go(engine: Engine) -> None:
    """Losses by kind, what was blind, late or after a gap, rows, attempts; and each stage says what it took."""
    _record(engine)
    with writing(engine) as connection:
        cursors.create_cursors(connection)
    stages = build_stages(Settings(), RuleSet(()))
    detected = [detect_next(engine, 1, stages) for _ in range(4)]
    assert detected[3] is None
    for each in detected[:3]:
        assert each is not None
        assert tuple(each.took) == STAGES
        assert all(seconds >= 0 for seconds in each.took.values())
    expected = {
        "snapshots": 3, "incomplete": 3, "blind": 1, "late": 1, "gap_seconds": 60, "rows": 4,
        "attempted": 3 + 2 + 7 + count().attempted, "lost_attempted": 5, "lost_folded": 1,
    }  # fmt: skip
    assert _totals(engine) == {"bastion-1": expected}
    with writing(engine) as connection:
        connection.execute(delete(tables.snapshots))
    assert _totals(engine) == {"bastion-1": expected}


def test_the_migration_begins_with_what_is_stored_and_seen(engine: Engine) -> None:
    """As if they had been added up when they were detected; those that detection has not seen come later."""
    take_back(engine, "0021")
    _record(engine)
    with writing(engine) as connection:
        connection.execute(insert(tables.detection_cursors).values(host_id=1, seq=2))
    upgrade(engine)
    assert _totals(engine) == {
        "bastion-1": {"snapshots": 2, "incomplete": 2, "lost_attempted": 5, "lost_folded": 1},
    }
    downgrade(engine, "0021")
    with reading(engine) as connection:
        assert connection.scalar(select(func.count()).select_from(tables.snapshots)) == 3
