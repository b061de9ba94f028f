"""Whether scoring a snapshot of 10,000 rows takes longer in an old database than in a young one.

BENCH_COUNTS says how many counts the old one has (default: 10 million); BENCH_PAST names one that is kept, as in
`query_time`: written if it is not there, else used as it is.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from benchmarks import past
from benchmarks.detection_time import TimedScorer, counts_of, figure
from detector.config import Models
from detector.models.scorer import HostScorer
from detector.store.engine import open_store, reading, writing
from detector.store.migrating import upgrade
from detector.store.tables import packed_counts, snapshots
from tests.builders import Recorder, read_counts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.figures import Figure

_YOUNG = 10_000
_OLD = int(os.environ.get("BENCH_COUNTS", "10000000"))
_KEPT = os.environ.get("BENCH_PAST")
_ROWS = 10_000
_ROUNDS = 15
_KNOWN_AFTER = 3


class _Store:
    """A past that goes on, on a host that was learnt."""

    def __init__(self, path: Path) -> None:
        self.engine = open_store(f"sqlite:///{path}")
        upgrade(self.engine)
        with reading(self.engine) as connection:
            end = connection.scalar(select(func.max(snapshots.c.end)))
            self.counts = connection.scalar(select(func.sum(packed_counts.c.rows))) or 0
        self._recorder = Recorder(self.engine, interval=timedelta(minutes=5), unpacked=False)
        if end is not None:
            self._recorder.now = end
        self.scorer = TimedScorer(HostScorer(Models(burn_in_hours=0), trains=False))
        self._random = Random(1)

    def score(self) -> None:
        """Writes the next snapshot and scores it."""
        ref = self._recorder.snapshot(*counts_of(self._random, _ROWS, iter(()), one_in=0))
        with writing(self.engine) as connection:
            self.scorer.score(connection, ref, read_counts(connection, ref))


def measure() -> Iterator[Figure]:
    """The same snapshots in both, in turn."""
    with TemporaryDirectory() as folder:
        paths = Path(folder) / "young.db", Path(_KEPT or f"{folder}/old.db")
        for path, size in zip(paths, (_YOUNG, _OLD), strict=True):
            if not path.exists():
                past.write(path, size)
        stores = [_Store(path) for path in paths]
        for _ in range(_KNOWN_AFTER + _ROUNDS):
            for store in stores:
                store.score()
        for store in stores:
            name = f"models, {_ROWS:,} rows, in a database of {store.counts:,} counts"
            yield figure(name, store.scorer.timer.took[_KNOWN_AFTER:])
            store.engine.dispose()
