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
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.detection import DATA, at_hand, cases
from benchmarks.figures import Figure
from detector import shipped
from detector.alerts.policy import Decision
from detector.config import Models
from detector.evaluation.player import Player
from detector.ruleset.load import load_rules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from detector.evaluation.cases import Host
    from detector.ruleset.evaluate import RuleSet

_COOLDOWN = timedelta(hours=1)
_DAY_SECONDS = 86_400
_BURN_IN_SHARE = 0.25


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
    return {host.name: _detected(host, loaded.ruleset, seconds) for host in cases(data, everything=True).hosts}


def _detected(host: Host, ruleset: RuleSet, seconds: int) -> HostRates:
    snapshots = host.snapshots(seconds)
    length = (snapshots[-1].end - snapshots[0].start).total_seconds()
    player = Player(Models(burn_in_hours=_BURN_IN_SHARE * length / 3600), ruleset, _COOLDOWN)
    played = player.play(snapshots)
    player.close()
    alerts = Counter(each.rule for each in played.found if each.decision is Decision.OPENED)
    return HostRates(days=length / _DAY_SECONDS, alerts=alerts)


def measure(data: Path = DATA) -> Iterator[Figure]:
    """Alerts per host and day of each rule that gave any; without the captures there is nothing to measure."""
    if not at_hand(data):
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
