"""How often the shipped rules alert of benign traffic: recorded connection logs, through the whole of detection.

Three hosts of the recorded logs are imported and detected as the commands do it, with a cooldown of an hour. The first
quarter of each is burn-in: rules that ask for what the models say are silent there. The logs know addresses, ports and
outcomes, and no programs and users: of rules that ask for these nothing is measured. What came from outside to the
server was no play: rules on inbound connections tell of it truly.

`python -m benchmarks.rule_rates [--data FOLDER] [--rules FOLDER] [--seconds 60]` prints it by rule and host.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from benchmarks.detection import DATA
from benchmarks.figures import Figure
from detector import pipeline, shipped
from detector.alerts.book import AlertBook
from detector.collector.log_files import LogFile, source_digest
from detector.collector.log_lines import Tally
from detector.collector.zeek import read_connections
from detector.collector.zeek_host import HostLog, of_networks
from detector.config import Models
from detector.models.scorer import HostScorer
from detector.ruleset.load import load_rules
from detector.service.importing import LogImport
from detector.store.engine import open_store, reading
from detector.store.imports import Source
from detector.store.migrating import upgrade
from detector.store.tables import alerts, snapshots

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Engine

    from detector.ruleset.evaluate import RuleSet

_COOLDOWN = timedelta(hours=1)
_DAY_SECONDS = 86_400
_BURN_IN_SHARE = 0.25
_HOSTS = {
    "rita_vps": ("rita_vps/*/conn.*.gz", "64.225.56.201/32"),
    "ubuntu_vm": ("ubuntu_vm/conn.log*", "192.168.1.109/32"),
    "desktop_008": ("desktop_008/conn.log*", "147.32.81.167/32"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRates:
    """What became of one host."""

    days: float
    alerts: Counter[str]
    """By the rule's title."""


def run(data: Path, rules: Path, seconds: int = 60) -> dict[str, HostRates]:
    """Imports and detects each host with the rules of a folder, in snapshots of so many seconds."""
    loaded = load_rules([rules])
    for fault in loaded.faults:
        print(fault, file=sys.stderr)
    return {
        host: _detected(sorted(data.glob(pattern)), host, network, loaded.ruleset, seconds)
        for host, (pattern, network) in _HOSTS.items()
    }


def _detected(paths: Sequence[Path], host: str, network: str, ruleset: RuleSet, seconds: int) -> HostRates:
    with tempfile.TemporaryDirectory() as folder:
        engine = open_store(f"sqlite:///{folder}/{host}.db")
        upgrade(engine)
        _import(engine, paths, host, network, seconds)
        with reading(engine) as connection:
            start, end = connection.execute(select(func.min(snapshots.c.start), func.max(snapshots.c.end))).one()
        burn_in = Models(burn_in_hours=_BURN_IN_SHARE * (end - start).total_seconds() / 3600)
        stages = pipeline.Stages(scorer=HostScorer(burn_in), ruleset=ruleset, alert_book=AlertBook([], _COOLDOWN))
        (host_id,) = pipeline.hosts_behind(engine)
        while pipeline.detect_next(engine, host_id, stages) is not None:
            pass
        with reading(engine) as connection:
            counted = Counter(connection.scalars(select(alerts.c.rule_title)))
        engine.dispose()
    return HostRates(days=(end - start).total_seconds() / _DAY_SECONDS, alerts=counted)


def _import(engine: Engine, paths: Sequence[Path], host: str, network: str, seconds: int) -> None:
    tally = Tally()
    with ExitStack() as stack:
        files = [stack.enter_context(LogFile(str(path))) for path in paths]
        digest = source_digest(files)
        own = of_networks([ip_network(network)])
        log = HostLog(read_connections(files, tally), tally, host=host, own=own, interval_seconds=seconds)
        LogImport(engine, Source(digest=digest, format="zeek", name="", options=""), live_host="").run(log.snapshots())


def measure(data: Path = DATA) -> Iterator[Figure]:
    """Alerts per host and day of each rule that gave any; without the captures there is nothing to measure."""
    if not (data / "rita_vps").is_dir():
        print(f"rule_rates: no captures at {data}; nothing measured", file=sys.stderr)
        return
    rates = run(data, shipped.folder("rules"))
    days = sum(each.days for each in rates.values())
    for title, number in _total(rates).most_common():
        hosts = ", ".join(f"{host} {each.alerts[title]}" for host, each in rates.items() if each.alerts[title])
        yield Figure(title, number / days, "1/day", f"of a host; {hosts} in {days:.1f} days")
    yield Figure("all rules", _total(rates).total() / days, "1/day", f"of a host, in {days:.1f} days of three hosts")


def _total(rates: dict[str, HostRates]) -> Counter[str]:
    return sum((each.alerts for each in rates.values()), Counter())


def main() -> int:
    """Prints alerts by rule and host."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--rules", type=Path, default=shipped.folder("rules"))
    parser.add_argument("--seconds", type=int, default=60)
    arguments = parser.parse_args()
    rates = run(arguments.data, arguments.rules, arguments.seconds)
    print(f"{'alerts of':56} " + " ".join(f"{host:>12}" for host in rates))
    print(f"{'days':56} " + " ".join(f"{each.days:12.2f}" for each in rates.values()))
    for title, _ in _total(rates).most_common():
        print(f"{title:56} " + " ".join(f"{each.alerts[title]:12}" for each in rates.values()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
