"""Whether scores keep what they promise: generated weeks of several hosts, through all of detection.

Nothing in them is an attack, so that each alert of the rule on scores is a false one, and an hour should hold a p of a
channel below one in ten in one hour of ten. A channel of what seldom happens at all gives no p to most hours, and what
it gives is held by as many hours as hold anything: no more than that can be expected at larger levels (the p of what is
discrete is below a level at most as often as it says, and just as often at those that it attains: Lehmann and Romano,
"Testing Statistical Hypotheses", 2005, 3.3). The hosts share a database; the day before scores are given, and the first
one after, are not counted.

`python -m benchmarks.promise [--days 12] [--hosts 3] [--first 1] [--promised 1.0]`
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from benchmarks.figures import Figure
from detector import shipped
from detector.alerts.book import AlertBook
from detector.config import Models
from detector.domain import CHANNELS
from detector.evaluation.generate import MONDAY, weeks
from detector.models.scorer import HostScorer
from detector.pipeline import Stages, detect_next
from detector.ruleset.load import load_rules
from detector.store.cursors import create_cursors
from detector.store.engine import open_store, reading, writing
from detector.store.migrating import upgrade
from detector.store.snapshots import SnapshotWriter
from detector.store.tables import alerts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection

    from detector.domain import Learning, Observation, SnapshotRef, StoredCount, ThresholdMove

_SECONDS = 300
_LEARNT = timedelta(days=2)
_DAYS, _HOSTS, _PROMISED = 12, 3, 1.0
_FIRST = 1
_LEVELS = (0.25, 0.1, 1 / 24, 0.01)
_SHOWN = 0.1
_ANYTHING = 0.99


@dataclass(slots=True)
class Hours:
    """The smallest p of each channel, and of all together, in each hour of each host that has any."""

    smallest: dict[str, dict[tuple[int, float], float]] = field(default_factory=lambda: defaultdict(dict))

    def take(self, snapshot: SnapshotRef, observed: Sequence[Observation]) -> None:
        """Looks at what was said of a snapshot."""
        if snapshot.start < MONDAY + _LEARNT:
            return
        hour = snapshot.host_id, snapshot.start.timestamp() // 3600
        for each in observed:
            self._take("all together", hour, None if each.surprise is None else 10**-each.surprise)
            for name in CHANNELS:
                self._take(name, hour, getattr(each, f"p_{name}"))

    def _take(self, name: str, hour: tuple[int, float], p: float | None) -> None:
        if p is not None:
            self.smallest[name][hour] = min(p, self.smallest[name].get(hour, 1.0))

    def below(self, name: str, level: float) -> int:
        """How many hours hold a p below a level."""
        return sum(p < level for p in self.smallest[name].values())

    def of_expected(self, name: str, level: float, hours: float) -> float | None:
        """The same, of as many as so many hours should; None if no hour holds anything."""
        expected = min(level * hours, self.below(name, _ANYTHING))
        return self.below(name, level) / expected if expected else None


class _Watched:
    """A scorer whose words are kept."""

    def __init__(self, settings: Models, hours: Hours) -> None:
        self._scorer, self._hours = HostScorer(settings), hours

    def score(
        self, connection: Connection, snapshot: SnapshotRef, counts: Sequence[StoredCount]
    ) -> tuple[Sequence[Observation], Learning]:
        observed, learning = self._scorer.score(connection, snapshot, counts)
        self._hours.take(snapshot, observed)
        return observed, learning

    def learning(self, connection: Connection, host_id: int) -> Learning:
        return self._scorer.learning(connection, host_id)

    def moved(self, connection: Connection, snapshot: SnapshotRef) -> ThresholdMove | None:
        return self._scorer.moved(connection, snapshot)


def told(folder: Path, *, days: float, seeds: Sequence[int], promised: float) -> tuple[int, Hours]:
    """The alerts of the rule on scores after the first two days of a host for each seed, and what the channels said
    meanwhile.
    """
    engine = open_store(f"sqlite:///{folder / 'promise.db'}")
    upgrade(engine)
    rules = load_rules([shipped.folder("rules") / "anomaly_score.yml"]).ruleset
    hours = Hours()
    scorer = _Watched(Models(false_alerts_per_day=promised), hours)
    stages = Stages(scorer=scorer, ruleset=rules, alert_book=AlertBook([], timedelta(hours=1)))
    for number in seeds:
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
    return number, hours


def measure(
    *, days: float = _DAYS, hosts: int = _HOSTS, first: int = _FIRST, promised: float = _PROMISED
) -> Iterator[Figure]:
    """False alerts per host and day, beside what was promised; and hours that hold a p, of those that should."""
    with tempfile.TemporaryDirectory() as folder:
        number, found = told(Path(folder), days=days, seeds=range(first, first + hosts), promised=promised)
    counted = hosts * (days - _LEARNT / timedelta(days=1))
    note = f"{promised:g} promised; {number} in {counted:g} generated host-days"
    yield Figure("false alerts of scores per host and day", number / counted, "1/day", note)
    for name in ("all together", *CHANNELS):
        share, *shares = (found.of_expected(name, level, counted * 24) for level in (_SHOWN, *_LEVELS))
        if share is None:
            continue
        anything = found.below(name, _ANYTHING) / (counted * 24)
        said = ", ".join(f"{each:.2f}" for each in shares if each is not None)
        note = f"p < 1/4, 1/10, 1/24, 1/100: {said}; {anything:.0%} of hours hold anything"
        yield Figure(f"hours with p < .1, of those expected: {name}", share, "", note)


def main() -> int:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=float, default=_DAYS)
    parser.add_argument("--hosts", type=int, default=_HOSTS)
    parser.add_argument("--first", type=int, default=_FIRST, help="the seed of the first host")
    parser.add_argument("--promised", type=float, default=_PROMISED)
    arguments = parser.parse_args()
    for figure in measure(
        days=arguments.days, hosts=arguments.hosts, first=arguments.first, promised=arguments.promised
    ):
        print(f"{figure.name}: {figure.value:.2f} {figure.unit} ({figure.note})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
