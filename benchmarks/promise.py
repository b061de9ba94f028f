"""Whether as many false alerts are told as were promised: generated weeks of several hosts, through all of detection.

Nothing in them is an attack, so that each alert of the rule on scores is a false one. The hosts share a database; the
day before scores are given, and the first one after, are not counted.

`python -m benchmarks.promise [--days 12] [--hosts 3] [--promised 1.0]`
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from benchmarks.figures import Figure
from detector import shipped
from detector.alerts.book import AlertBook
from detector.config import Models
from detector.evaluation.generate import MONDAY, weeks
from detector.models.scorer import HostScorer
from detector.pipeline import Stages, detect_next
from detector.ruleset.load import load_rules
from detector.store.engine import open_store, reading, writing
from detector.store.migrating import upgrade
from detector.store.snapshots import SnapshotWriter, create_cursors
from detector.store.tables import alerts

if TYPE_CHECKING:
    from collections.abc import Iterator

_SECONDS = 300
_LEARNT = timedelta(days=2)
_DAYS, _HOSTS, _PROMISED = 12, 3, 1.0


def told(folder: Path, *, days: float, hosts: int, promised: float) -> int:
    """The alerts of the rule on scores that so many hosts' weeks give rise to, after the first two days of each."""
    engine = open_store(f"sqlite:///{folder / 'promise.db'}")
    upgrade(engine)
    rules = load_rules([shipped.folder("rules") / "anomaly_score.yml"]).ruleset
    scorer = HostScorer(Models(false_alerts_per_day=promised))
    stages = Stages(scorer=scorer, ruleset=rules, alert_book=AlertBook([], timedelta(hours=1)))
    for number in range(1, hosts + 1):
        writer = SnapshotWriter(f"bastion-{number}")
        for snapshot in weeks(seed=number, days=days, seconds=_SECONDS, host=f"bastion-{number}"):
            with writing(engine) as connection:
                ref = writer.write(connection, snapshot)
                create_cursors(connection)
            detect_next(engine, ref.host_id, stages)
    with reading(engine) as connection:
        chosen = alerts.c.rule_id == shipped.ANOMALY_RULE, alerts.c.opened_at >= MONDAY + _LEARNT
        number = connection.scalar(select(func.count()).select_from(alerts).where(*chosen)) or 0
    engine.dispose()
    return number


def measure(*, days: float = _DAYS, hosts: int = _HOSTS, promised: float = _PROMISED) -> Iterator[Figure]:
    """False alerts per host and day, beside what was promised."""
    with tempfile.TemporaryDirectory() as folder:
        number = told(Path(folder), days=days, hosts=hosts, promised=promised)
    counted = hosts * (days - _LEARNT / timedelta(days=1))
    note = f"{promised:g} promised; {number} in {counted:g} generated host-days"
    yield Figure("false alerts of scores per host and day", number / counted, "1/day", note)


def main() -> int:
    """Prints the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=float, default=_DAYS)
    parser.add_argument("--hosts", type=int, default=_HOSTS)
    parser.add_argument("--promised", type=float, default=_PROMISED)
    arguments = parser.parse_args()
    for figure in measure(days=arguments.days, hosts=arguments.hosts, promised=arguments.promised):
        print(f"{figure.name}: {figure.value:.2f} {figure.unit} ({figure.note})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
