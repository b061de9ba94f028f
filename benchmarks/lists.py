"""What a list of 100,000 networks costs, beside one of ten: evaluating rules that name it, reading and writing it."""

from __future__ import annotations

import json
import tempfile
import time
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path
from random import Random
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.figures import Figure
from benchmarks.servers import postgres
from detector.ruleset.load import load_rules
from detector.store.engine import open_store, reading, writing
from detector.store.migrating import upgrade
from tests.builders import Recorder, count
from tests.ruleset.writing import event, write_list

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from detector.domain import SnapshotRef
    from detector.ruleset.evaluate import RuleSet

_SIZES = (10, 100_000)
_RULES = 20
_ROWS = 250
_ROUNDS = 30


def measure() -> Iterator[Figure]:
    """20 rules that name the list, a quarter of them under a not, over a snapshot of 250 rows; by turns."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as servers:
        rules = {}
        for size in _SIZES:
            place = Path(folder, str(size))
            _write(place, size)
            started = time.perf_counter()
            loaded = load_rules([place])
            assert not loaded.faults
            rules[size] = loaded.ruleset
            if size == _SIZES[-1]:
                seconds = time.perf_counter() - started
                yield Figure(f"{size:,} networks read, with the rules", 1000 * seconds, "ms")
        urls = {"SQLite": f"sqlite:///{folder}/detector.db", "Postgres": servers.enter_context(postgres())[0]}
        for name, url in urls.items():
            engine = open_store(url)
            upgrade(engine)
            yield from _evaluated(engine, name, rules)
            engine.dispose()


def _write(folder: Path, size: int) -> None:
    folder.mkdir()
    random = Random(size)
    lines = []
    for number in range(size):
        if number % 10 == 0:
            lines.append(f"{ip_address((0x2001 << 112) + (random.getrandbits(40) << 80))}/48")
        else:
            lines.append(f"{ip_address(random.randrange(1 << 24, 224 << 24) >> 4 << 4)}/28")
    write_list(folder, "feed", *lines)
    for number in range(_RULES):
        rule = event({"Initiated": True, "User|neq": f"user{number}"}, number=number)
        negated = "not " if number % 4 == 0 else ""
        listed = {"DestinationIp|expand": "%feed%"}
        rule["detection"] |= {"listed": listed, "condition": f"selection and {negated}listed"}
        # JSON is YAML.
        (folder / f"{number}.yml").write_text(json.dumps(rule), encoding="utf-8")


def _evaluated(engine: Engine, name: str, rules: dict[int, RuleSet]) -> Iterator[Figure]:
    random = Random(1)
    addresses = (ip_address(random.randrange(1 << 24, 224 << 24)) for _ in range(_ROWS))
    ref = Recorder(engine).snapshot(*(count(str(address), random.choice((22, 443))) for address in addresses))
    for size, ruleset in rules.items():
        started = time.perf_counter()
        with writing(engine) as connection:
            ruleset.prepare(connection)
        if size == _SIZES[-1]:
            yield Figure(f"{name}: {size:,} networks written", 1000 * (time.perf_counter() - started), "ms", "once")
    taken: dict[int, list[float]] = {size: [] for size in rules}
    for _ in range(_ROUNDS):
        for size, ruleset in rules.items():
            taken[size].append(_timed(engine, ruleset, ref))
    for size, seconds in taken.items():
        note = f"median of {_ROUNDS}; {_RULES} rules over {_ROWS} rows"
        yield Figure(f"{name}: list of {size:,}", 1000 * median(seconds), "ms", note)
    few, many = (median(taken[size]) for size in _SIZES)
    yield Figure(f"{name}: {_SIZES[1]:,} beside {_SIZES[0]}", many / few, "times")


def _timed(engine: Engine, ruleset: RuleSet, ref: SnapshotRef) -> float:
    with reading(engine) as connection:
        started = time.perf_counter()
        ruleset.prepare(connection)
        ruleset.evaluate(connection, ref)
        return time.perf_counter() - started
