"""How long `detector rules test` takes of one rule over 30 days of 10 million counts, on SQLite, in a warm process.

BENCH_COUNTS says how many counts that past has, of 39 a snapshot each ten seconds; BENCH_BACKTEST_PAST names a database
that is kept: written if it is not there, else used as it is.
"""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from sqlalchemy import func, select

from benchmarks import past
from benchmarks.figures import Figure
from detector import shipped
from detector.ruleset.load import load_rules
from detector.service.backtesting import Policy, backtest
from detector.service.replaying import Wanted
from detector.store.engine import open_store, reading
from detector.store.tables import packed_counts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from detector.ruleset.evaluate import Rule

_COUNTS = int(os.environ.get("BENCH_COUNTS", "10000000"))
_KEPT = os.environ.get("BENCH_BACKTEST_PAST")
_ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
_SNAPSHOT_COUNTS = 39
_NOVEL = 2e-4
_COOLDOWN = timedelta(hours=1)
# By what it is an example of: a shipped file and the title in it, or a selection.
_RULES: dict[str, tuple[str, str] | dict[str, Any]] = {
    "first contact, as shipped": ("first_contact.yml", "First contact with a destination"),
    "port scan, as shipped": ("vertical_scan.yml", "Port scan of one destination"),
    "sweep of destinations, as shipped": ("horizontal_scan.yml", "Sweep of many destinations"),
    "burst of connects, as shipped": ("connection_burst.yml", "Burst of connections to one service"),
    "many failures, as shipped": ("many_failures.yml", "Many failed connects to one service"),
    "anomaly score, as shipped": ("anomaly_score.yml", "Connection that is unusual for this host"),
    "a program that nobody used": {"Image|endswith": "/xmrig"},
    "a rare user": {"LoginUser": past.SCANNER},
    "one of 150 users": {"LoginUser": "user100"},
    "one of 60 programs": {"Image|endswith": "/program7", "Initiated": True},
    "a network, not of one user": {"DestinationIp|cidr": "192.0.0.0/12", "User": "root"},
    "many connects in a snapshot": {"Attempted|gte": 18},
    "where the login came from": {"LoginIp": "203.0.113.7", "DestinationPort": 25},
    "dense: a match in each snapshot": {"DestinationPort": 25},
    "densest: every row matches": {"Initiated": True},
}


def measure() -> Iterator[Figure]:
    """Each rule a few times; the first time compiles statements, as a command does."""
    with _written() as path, tempfile.TemporaryDirectory() as folder:
        engine = open_store(f"sqlite:///{path}")
        with reading(engine) as connection:
            counts = connection.scalar(select(func.sum(packed_counts.c.rows))) or 0
        yield Figure("counts", counts, "", f"{path.stat().st_size / 1e9:.2f} GB")
        for name in _RULES:
            took, worked = [], []
            for _ in range(_ROUNDS):
                rule = _rule(Path(folder), name)
                started, working = time.perf_counter(), time.process_time()
                result = backtest(engine, rule, Wanted(), Policy(cooldown=_COOLDOWN), lambda _: None)
                took.append(time.perf_counter() - started)
                worked.append(time.process_time() - working)
            said = f"{result.findings:,} findings, {len(result.tally.alerts):,} alerts"
            yield Figure(name, sorted(took)[len(took) // 2], "s", f"{said}; processor time {min(worked):.2f} s")
        engine.dispose()


def _rule(folder: Path, name: str) -> Rule:
    chosen = _RULES[name]
    if isinstance(chosen, tuple):
        file, title = chosen
        loaded = load_rules([shipped.folder("rules") / file])
    else:
        title = name
        path = folder / "rule.yml"
        path.write_text(yaml.safe_dump(_written_rule(name, chosen)))
        loaded = load_rules([path])
    assert not loaded.faults, loaded.faults
    return next(rule for rule in loaded.ruleset.rules if rule.title == title)


def _written_rule(title: str, selection: dict[str, Any]) -> dict[str, Any]:
    return {
        "title": title,
        "id": "2f1c4e0e-52b3-4c1a-8a57-1f0f7c9d2b60",
        "level": "low",
        "logsource": {"category": "network_connection", "product": "linux"},
        "detection": {"selection": selection, "condition": "selection"},
    }


@contextmanager
def _written() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(_KEPT or f"{folder}/detector.db")
        if not path.exists():
            past.write(path, _COUNTS, size=_SNAPSHOT_COUNTS, novel=_NOVEL, scans=True)
        yield path
