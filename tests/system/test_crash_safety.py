"""Detection killed at any point loses nothing and repeats nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

from detector.store.engine import open_store, reading
from detector.store.migrating import upgrade
from detector.store.tables import alerts, detection_cursors, evidence, findings, notifications, packed_observations
from tests.builders import Recorder, count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detector.domain import ConnectionCount

_DRIVER = Path(__file__).with_name("killed_detect.py")


def _traffic(random: Random, number: int) -> list[ConnectionCount]:
    """A minute of a host: its usual connects, now and then something new, a scan, a burst."""
    rows = [
        count(f"10.0.0.{index}", 443, attempted=n, established=n, executable=f"/usr/bin/tool{index % 3}")
        for index in range(8)
        if (n := random.randrange(6))
    ]
    if random.random() < 0.1:
        rows.append(count(f"198.51.100.{random.randrange(250)}", random.choice((22, 443, 9001))))
    if number % 97 == 60:
        rows += [count("10.0.4.12", port, attempted=1, refused=1, executable="/usr/bin/nc") for port in range(1, 80)]
    if number % 120 == 100:
        rows.append(count("10.0.0.3", 443, attempted=900, established=900))
    return rows


def _run(folder: Path, times: int, snapshots: int) -> dict[str, Sequence[Any]]:
    """What is in the database after `detect` was killed so often, while snapshots were written all the time."""
    folder.mkdir()
    config = folder / "detector.toml"
    config.write_text(
        f'state_folder = "{folder}"\n'
        # The snapshots are of no matter when.
        "[retention]\nsnapshot_days = 36500\nhourly_days = 36500\ndaily_days = 36500\n"
        "[models]\nburn_in_hours = 1\ntrain_every_hours = 1\n[notify]\nconsole = false\n"
        '[[channels]]\nname = "nobody"\nurl = "json://127.0.0.1:9/"\nmin_severity = "informational"\n'
    )
    config.chmod(0o600)
    engine = open_store(f"sqlite:///{folder / 'detector.db'}")
    upgrade(engine)
    recorder = Recorder(engine, interval=timedelta(seconds=60), unpacked=False)
    random = Random(3)
    # Not measured: what is killed could not say what it ran, and measuring slows it down.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    with subprocess.Popen([sys.executable, str(_DRIVER), str(config), str(times)], env=environment) as driver:
        for number in range(snapshots):
            recorder.snapshot(*_traffic(random, number))
        (folder / "written").touch()
        assert driver.wait(200) == 0
    plain = [column for column in alerts.c if column.name != "alert_id"]
    queries = {
        "cursor": select(detection_cursors.c.host_id, detection_cursors.c.seq),
        "findings": select(findings).order_by(*findings.primary_key),
        "observations": select(packed_observations).order_by(*packed_observations.primary_key),
        "evidence": select(evidence).order_by(*evidence.primary_key),
        "alerts": select(*plain).order_by(alerts.c.alert_id),
        "notifications": select(
            notifications.c.alert_id, notifications.c.channel, notifications.c.reason, notifications.c.created_at
        ).order_by(notifications.c.notification_id),
    }
    with reading(engine) as connection:
        found = {name: connection.execute(query).all() for name, query in queries.items()}
    engine.dispose()
    return found


@pytest.mark.timeout(400)
def test_findings_after_kills_equal_those_of_an_undisturbed_run(tmp_path: Path, thorough: bool) -> None:
    """kill -9 again and again under load (thoroughly: fifty times): findings, alerts, scores and outbox are the same
    to the last digit.
    """
    times, snapshots = (50, 400) if thorough else (15, 180)
    undisturbed = _run(tmp_path / "undisturbed", 0, snapshots)
    killed = _run(tmp_path / "killed", times, snapshots)
    assert len(undisturbed["findings"]) > (10 if thorough else 3)
    assert len(undisturbed["notifications"]) > 3
    assert undisturbed["observations"], "no scores were given"
    for name, rows in undisturbed.items():
        assert killed[name] == rows, name
