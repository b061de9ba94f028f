"""Time that rules take for a snapshot: 1,000 distinct ones, and 100 correlations over a day of a long past.

BENCH_COUNTS says how many counts that past has (default: 10 million). BENCH_PAST names a database that is kept: written
if it is not there, else used as it is, and changed.
"""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

import yaml
from sqlalchemy import delete, func, select, text, update

from benchmarks import past
from benchmarks.figures import Figure
from benchmarks.memory import pss
from benchmarks.servers import postgres
from detector.domain import SnapshotRef
from detector.ruleset.load import load_rules
from detector.store import recent
from detector.store.engine import open_store, reading, writing
from detector.store.migrating import upgrade
from detector.store.packed import read_one
from detector.store.tables import (
    connection_counts,
    detection_cursors,
    noted_fields,
    observations,
    packed_counts,
    seen_terms,
    snapshots,
    usual_counts,
)
from tests.builders import Recorder, count
from tests.ruleset.many_rules import write_many
from tests.ruleset.writing import correlation, event

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from detector.ruleset.evaluate import RuleSet

_COUNTS = int(os.environ.get("BENCH_COUNTS", "10000000"))
_KEPT = os.environ.get("BENCH_PAST")
_RULES, _CORRELATIONS = 1000, 100
_ROUNDS = 40
_STEADY = 120
_GROUPS = (["LoginUser"], ["LoginUser", "Image"], ["DestinationIp"], ["LoginUser", "DestinationIp"], ["User"], ["Host"])


def measure() -> Iterator[Figure]:
    """Whole evaluations, as the pipeline calls them."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write_many(folder, _RULES)
        for name, url in (
            ("SQLite", f"sqlite:///{folder}/many.db"),
            ("Postgres", stack.enter_context(postgres())[0]),
        ):
            for rows in (250, 10_000):
                yield _many(folder, url, name, rows)
    yield from _correlated()


def _many(folder: Path, url: str, name: str, rows: int) -> Figure:
    rules = load_rules([folder]).ruleset
    engine = open_store(url)
    upgrade(engine)
    recorder = Recorder(engine, host=f"host-{rows}", unpacked=False)
    chance = Random(1)
    took = []
    for number in range((_ROUNDS if rows < 1000 else _ROUNDS // 4) + 1):
        if number == 1:
            # As the database does by itself within its first minute. Without statistics Postgres looks for a key among
            # all of the host's.
            with writing(engine) as connection:
                connection.execute(text("ANALYZE"))
        counts = {
            (each.key.remote_address, each.key.remote_port): each
            for each in (count(f"10.0.{chance.randrange(99)}.{chance.randrange(250)}", n % 2000) for n in range(rows))
        }
        ref = recorder.snapshot(*counts.values())
        with writing(engine) as connection:
            recent.advance(connection, ref, read_one(connection, ref), rules.needs)
            started = time.perf_counter()
            found = rules.evaluate(connection, ref)
            took.append(1000 * (time.perf_counter() - started))
    engine.dispose()
    # The first one compiles statements.
    note = f"median {median(took[1:]):,.0f} ms; {len(found)} findings"
    return Figure(f"{_RULES:,} rules, {rows:,} rows, {name}: p95", _p95(took[1:]), "ms", note)


def _correlated() -> Iterator[Figure]:
    with _written() as path:
        engine = open_store(f"sqlite:///{path}")
        upgrade(engine)
        with reading(engine) as connection:
            counts = connection.scalar(select(func.sum(packed_counts.c.rows))) or 0
        yield Figure("counts", counts, "", f"{path.stat().st_size / 1e9:.2f} GB")
        yield from _over(engine, "100 correlations over 24 h", list(_correlations()))
        yield from _over(engine, "10 new_terms and 10 baselines", list(_remembering()))
        engine.dispose()


def _over(engine: Engine, name: str, documents: list[dict[str, Any]]) -> Iterator[Figure]:
    """The last snapshots of the past, one after another."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "rules.yml").write_text(yaml.safe_dump_all(documents, sort_keys=False), encoding="utf-8")
        loaded = load_rules([Path(folder)])
    assert not loaded.faults, loaded.faults
    with writing(engine) as connection:
        last = connection.scalar(select(func.max(snapshots.c.seq))) or 0
        # As it is when no rule looks back, nor has.
        for each in (connection_counts, observations, noted_fields, seen_terms, usual_counts):
            connection.execute(delete(each))
    before = pss(os.getpid())
    took = [_evaluated(engine, loaded.ruleset, seq) for seq in range(last - _STEADY, last + 1)]
    evaluating, advancing, findings = zip(*took, strict=True)
    with reading(engine) as connection:
        rows = connection.scalar(select(func.count()).select_from(connection_counts)) or 0
    note = f"{rows:,} single rows, brought there in {advancing[0] / 1000:.0f} s"
    yield Figure(f"{name}: the first snapshot", evaluating[0] / 1000, "s", note)
    note = f"median {median(evaluating[1:]):,.0f}, longest {max(evaluating[1:]):,.0f} ms; "
    note += f"{median(findings):.0f} findings a snapshot; rows come and go in {median(advancing[1:]):.0f} ms"
    yield Figure(f"{name}: p95 afterwards", _p95(evaluating[1:]), "ms", note)
    yield Figure(f"{name}: memory", pss(os.getpid()) - before, "MB", "of the process, PSS")


def _evaluated(engine: Engine, rules: RuleSet, seq: int) -> tuple[float, float, int]:
    """Milliseconds of evaluating a stored snapshot, and of bringing its rows; how much was found."""
    with writing(engine) as connection:
        row = connection.execute(select(snapshots.c.start, snapshots.c.end).where(snapshots.c.seq == seq)).one()
        ref = SnapshotRef(host_id=1, host="bastion-1", seq=seq, start=row.start, end=row.end)
        started = time.perf_counter()
        recent.advance(connection, ref, read_one(connection, ref), rules.needs)
        brought = time.perf_counter()
        found = rules.evaluate(connection, ref)
        done = time.perf_counter()
        connection.execute(update(detection_cursors).values(seq=seq))
    return 1000 * (done - brought), 1000 * (brought - started), len(found)


def _correlations() -> Iterator[dict[str, Any]]:
    """Correlations of every type, over rules that match a little or nearly everything; some pass all day."""
    for number in range(_CORRELATIONS):
        yield event(_selection(number), number=1000 + number, name=f"base_{number}")
    kinds: tuple[tuple[str, dict[str, Any]], ...] = (
        ("event_count", {"gte": 1_000_000}),
        ("value_count", {"field": "DestinationIp", "gte": 3500}),
        ("event_count", {"gte": 500_000, "lt": 10**9}),
        ("value_sum", {"field": "Attempted", "gte": 1_000_000}),
        ("value_count", {"field": "DestinationPort", "gte": 6}),
    )
    for number in range(_CORRELATIONS):
        group_by = _GROUPS[number % len(_GROUPS)]
        kind, condition = kinds[number % len(kinds)]
        keys: dict[str, Any] = {"type": kind, "rules": [f"base_{number}"], "timespan": "24h"}
        document = correlation(group_by, condition, number=2000 + number, **keys)
        if number % 10 == 9:
            document["correlation"] |= {
                "type": ("temporal", "temporal_ordered")[number // 10 % 2],
                "rules": [f"base_{number - number % 6 + each}" for each in (1, 2, 3)],
                "group-by": ["LoginUser", "Image"],
            }
            del document["correlation"]["condition"]
        yield document


def _remembering() -> Iterator[dict[str, Any]]:
    """Rules over everything that is sent, each on other fields and groups."""
    for number in range(10):
        fields = [*_GROUPS[number % 5], "DestinationPort", "LoginIp"][: 2 + number // 5]
        new_terms = {"fields": list(dict.fromkeys(fields)), "window": "30d"}
        yield {**event({"Initiated": True}, number=3000 + number), "x-detector": {"new_terms": new_terms}}
        baseline = {"factor": 5, "window": "7d", "minimum": 500 + number}
        section = {"group_by": _GROUPS[number % 5], "baseline": baseline}
        yield {**event({"Initiated": True}, number=4000 + number), "x-detector": section}


def _selection(number: int) -> dict[str, Any]:
    selections: tuple[dict[str, Any], ...] = (
        {"Initiated": True, "Session|gte": number % 7},
        {"Image|endswith": f"/program{number % 60}"},
        {"DestinationPort": (443, 5432, 8080, 25)[number // 4 % 4]},
        {"Outcome": "refused", "Session|gte": number % 5},
        {"DestinationIp|cidr": f"10.{number % 7}.0.0/16"},
        {"LoginUser|startswith": f"user{number % 10}"},
    )
    return selections[number % len(selections)]


def _p95(values: list[float] | tuple[float, ...]) -> float:
    return quantiles(values, n=20, method="inclusive")[-1]


@contextmanager
def _written() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="detector-rules-") as folder:
        path = Path(_KEPT) if _KEPT else Path(folder) / "past.db"
        if not path.exists():
            past.write(path, _COUNTS)
        yield path
