"""10,000 findings in one snapshot become alerts."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.figures import Figure
from benchmarks.servers import postgres
from detector.alerts.book import AlertBook, ChannelPolicy
from detector.domain import EvidenceRef, Finding, Learning, Severity
from detector.store.engine import open_store, reading, writing
from detector.store.migrating import upgrade
from detector.store.packed import read_one
from detector.uncollected import uncollected
from tests.builders import Recorder, count

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Engine

    from detector.domain import ConnectionCount, SnapshotRef

_FINDINGS = 10_000
_ROUNDS = 3
_LEARNT = Learning(elapsed_seconds=1, required_seconds=1)


def measure() -> Iterator[Figure]:
    """On SQLite and on Postgres."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stores = {
            "SQLite": f"sqlite:///{folder}/alerts.db",
            "Postgres": stack.enter_context(postgres())[0],
        }
        for name, url in stores.items():
            engine = open_store(url)
            upgrade(engine)
            yield from _many(engine, name)
            engine.dispose()


def _many(engine: Engine, name: str) -> Iterator[Figure]:
    """The shortest of some rounds, each of new alerts, and of the same alerts once more."""
    opened: list[float] = []
    again: list[float] = []
    recorder = Recorder(engine)
    for number in range(_ROUNDS):
        for took in (opened, again):
            ref, rows = _snapshot(recorder, [count(f"10.{i // 256 % 256}.{i % 256}.1", 22) for i in range(_FINDINGS)])
            found = [
                _finding(ref, [row], f"{number:08x}{i:024x}", {"remote_address": str(i)}) for i, row in enumerate(rows)
            ]
            began = time.perf_counter()
            with uncollected(), writing(engine) as connection:
                _book().record(connection, ref, found, _LEARNT)
            took.append(time.perf_counter() - began)
    yield Figure(f"10,000 findings that open 10,000 alerts, {name}", min(opened), "s")
    yield Figure(f"10,000 findings of alerts that are open, {name}", min(again), "s")


def _book() -> AlertBook:
    return AlertBook([ChannelPolicy(name="mail", min_severity=Severity.LOW)], timedelta(hours=1))


def _snapshot(recorder: Recorder, counts: Sequence[ConnectionCount]) -> tuple[SnapshotRef, list[EvidenceRef]]:
    ref = recorder.snapshot(*counts)
    with reading(recorder.engine) as connection:
        packed = read_one(connection, ref)
    assert packed is not None
    return ref, [EvidenceRef(seq=ref.seq, key_id=key_id, session=0) for key_id in packed.counts["key_id"]]


def _finding(ref: SnapshotRef, rows: Sequence[EvidenceRef], fingerprint: str, group: dict[str, Any]) -> Finding:
    return Finding(
        rule_id="bench",
        rule_title="Bench",
        severity=Severity.MEDIUM,
        fingerprint=fingerprint,
        group=group,
        start=ref.start,
        end=ref.end,
        evidence=tuple(rows),
    )
