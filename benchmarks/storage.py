"""Bytes that a stored count takes of an SQLite file, indexes included: of BENCH_COUNTS (2 million), from 20,000 keys.

Snapshots of 250 counts, packed by the store's own code and written many at a time. A few keys are in most snapshots and
many in few; sessions, origins, names and handshakes are as various as on a busy bastion.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from datetime import timedelta
from ipaddress import IPv4Address
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, update

from benchmarks.figures import Figure
from detector.domain import Observation
from detector.store import rollups, sizes
from detector.store.cursors import create_cursors
from detector.store.engine import open_store, relaxed, writing
from detector.store.migrating import upgrade
from detector.store.packed import read_packed
from detector.store.packing import pack_counts
from detector.store.packing_observations import pack_observations
from detector.store.snapshots import SnapshotWriter
from detector.store.tables import detection_cursors, packed_counts, packed_observations, snapshots
from tests.builders import START, Recorder, count

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from sqlalchemy import Engine

_COUNTS = int(os.environ.get("BENCH_COUNTS", "2000000"))
_KEYS, _A_SNAPSHOT, _AT_ONCE = 20_000, 250, 400
_INTERVAL = timedelta(seconds=10)
_NAMES, _LOGINS = 6_000, 60


def measure() -> Iterator[Figure]:
    """Counts with their keys; the same with what detection says of each; and with what is added up by hour and day."""
    with tempfile.TemporaryDirectory() as folder:
        engine = relaxed(open_store(f"sqlite:///{folder}/detector.db"))
        upgrade(engine)
        last = _write_keys(engine)
        number = _COUNTS // _A_SNAPSHOT
        note = f"{_COUNTS:,} counts, {_KEYS:,} keys, {_A_SNAPSHOT} a snapshot, SQLite"
        began = time.perf_counter()
        _write_counts(engine, last, number)
        took = time.perf_counter() - began
        bare = _size(engine)
        yield Figure("bytes a count: counts, snapshots, keys", bare / _COUNTS, "B", note)
        _write_observations(engine, last, number)
        yield Figure("… with scores", _size(engine) / _COUNTS, "B", "of every count")
        _roll_up(engine, last + number)
        yield Figure("… with scores, hours and days", _size(engine) / _COUNTS, "B", "all of them")
        yield Figure("counts packed and stored", _COUNTS / took, "1/s", "many snapshots at a time")
        engine.dispose()


def _write_keys(engine: Engine) -> int:
    """Through the product's own writer; returns the number of the last snapshot."""
    dice = random.Random(1)
    recorder = Recorder(engine, unpacked=False)
    recorder.writer = SnapshotWriter("bastion-1")
    for first in range(0, _KEYS, 2000):
        ref = recorder.snapshot(
            *(
                count(
                    str(IPv4Address(dice.getrandbits(32))),
                    dice.choice((22, 443, 443, 443, 53, 5432, dice.randrange(1024, 65536))),
                    executable=f"/usr/bin/program-{dice.randrange(200)}",
                    command=f"program-{dice.randrange(200)}",
                    user=f"user-{dice.randrange(50)}",
                    login_user=f"user-{dice.randrange(50)}",
                    unit=f"session-{dice.randrange(50)}.scope",
                    remote_name=f"host-{number % _NAMES}.example.org",
                    login_address=f"203.0.113.{number % _LOGINS}",
                )
                for number in range(first, first + 2000)
            )
        )
    return ref.seq


def _place(last: int, number: int) -> dict[str, Any]:
    return {"host_id": 1, "seq": last + 1 + number, "end": _end(last, number)}


def _end(last: int, number: int) -> datetime:
    return START + (last + 1 + number) * _INTERVAL


def _write_counts(engine: Engine, last: int, number: int) -> None:
    dice = random.Random(2)
    weights = list(accumulate(1 / (rank + 50) for rank in range(_KEYS)))
    for first in range(0, number, _AT_ONCE):
        some = range(first, min(first + _AT_ONCE, number))
        packed = []
        for each in some:
            rows = _rows(dice, weights)
            packed.append(_place(last, each) | {"rows": len(rows), "content": pack_counts(rows)})
        described = [
            _place(last, each) | {"start": _end(last, each) - _INTERVAL, "mark": dice.randbytes(16)} for each in some
        ]
        with writing(engine) as connection:
            connection.execute(insert(snapshots), described)
            connection.execute(insert(packed_counts), packed)


def _rows(dice: random.Random, weights: list[float]) -> list[dict[str, int]]:
    keys: set[int] = set()
    while len(keys) < _A_SNAPSHOT:
        keys |= set(dice.choices(range(1, _KEYS + 1), cum_weights=weights, k=_A_SNAPSHOT - len(keys)))
    rows = []
    for key_id in keys:
        attempted = 1 + int(dice.expovariate(0.7))
        refused = dice.randrange(attempted + 1) if dice.random() < 0.05 else 0
        longest = int(dice.lognormvariate(8, 1.5))
        rows.append(
            {
                "key_id": key_id,
                "session": dice.randrange(1, 40) * 7 if dice.random() < 0.6 else 0,
                # Who connects there comes from the same place on most days.
                "origin_id": (key_id if dice.random() < 0.9 else dice.randrange(_LOGINS)) % _LOGINS + 1,
                "name_id": key_id % _NAMES + 1,
                "attempted": attempted,
                "established": attempted - refused,
                "refused": refused,
                "timed_out": 0,
                "failed": 0,
                "handshake_us_total": int(longest * (1 + (attempted - refused - 1) * dice.random())),
                "handshake_us_max": longest,
            }
        )
    return rows


def _write_observations(engine: Engine, last: int, number: int) -> None:
    dice = random.Random(3)

    def observation(key_id: int, session: int) -> Observation:
        surprise = dice.expovariate(2.3)
        return Observation(
            key_id=key_id,
            session=session,
            score=1 - 10**-surprise,
            surprise=surprise,
            channel=dice.choice(("volume", "forest")),
            novelty=None,
            p_novelty=None if dice.random() < 0.9 else dice.random(),
            p_volume=dice.uniform(1e-4, 1),
            p_forest=dice.uniform(1e-4, 1),
            explanation="never seen before: this destination" if dice.random() < 0.004 else None,
        )

    for first in range(0, number, _AT_ONCE):
        some = range(first, min(first + _AT_ONCE, number))
        packed = []
        with writing(engine) as connection:
            span = (last + 1 + some[0], last + 1 + some[-1])
            for each in read_packed(connection, 1, span, scores=False):
                observed = [
                    observation(*place) for place in zip(each.counts["key_id"], each.counts["session"], strict=True)
                ]
                packed.append({"host_id": 1, "seq": each.seq, "end": each.end, "content": pack_observations(observed)})
            connection.execute(insert(packed_observations), packed)


def _roll_up(engine: Engine, last: int) -> None:
    with writing(engine) as connection:
        create_cursors(connection)
        connection.execute(update(detection_cursors).values(seq=last))
    while rollups.advance(engine, 1, now=START + timedelta(days=3650)).more:
        pass


def _size(engine: Engine) -> int:
    sizes.shorten_log(engine)
    return sizes.measure(engine).on_disk
