"""How well attacks are told from ordinary traffic: recorded captures, through the whole of detection, as `detector
evaluate` does it.

Three hosts, eight attacks, each played into the host's second half at three offsets. The first half is burn-in; the
threshold follows from it and the wish for at most one false incident a day, and nothing is fitted to the second half.

`python -m benchmarks.detection [--seconds 300,60] [--stress] [--rules none]` prints it attack by attack; with
`--stress` also harder attacks, and hosts whose history holds odd things. `detector evaluate` does so of any folder.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import stress
from benchmarks.figures import Figure
from detector import shipped
from detector.cli.evaluation_tables import print_result
from detector.config import Models
from detector.config_alerts import Alerts
from detector.domain import Severity
from detector.evaluation import manifest, protocol
from detector.evaluation.harder import ODD_HISTORIES, with_odd_history
from detector.evaluation.logs import Folder
from detector.evaluation.results import mean, share_by_rules, share_by_score
from detector.ruleset.evaluate import RuleSet
from detector.ruleset.load import load_rules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from detector.evaluation.cases import Cases
    from detector.evaluation.results import Incidents, Result

DATA = Path(__file__).parents[2] / "shared" / "data"
MANIFEST = Path(__file__).with_name("captures.json")
_A_DAY = 1.0
# As the captures' README.md gives them: seconds, detector, PR-AUC, caught, false incidents per host and day.
_KNOWN_FIGURES = (
    (300, "isolation forest, 14 features", 0.724, 0.708, 8.6),
    (300, "reference", 0.966, 1.0, 0.0),
    (60, "isolation forest, 14 features", 0.729, 0.694, 3.6),
    (60, "reference", 0.990, 1.0, 0.0),
)


def cases(data: Path, *, everything: bool = False) -> Cases:
    """The captures' hosts and attacks; `everything`: also what the protocol leaves out of hosts."""
    return Folder(data, manifest.read(data, MANIFEST), everything=everything, strict=True).read()


def run(judged: Cases, seconds: int, *, rules: bool = True) -> Result:
    """Runs the protocol for one snapshot length, with the shipped rules or without any."""
    setup = protocol.Setup(
        models=Models(false_alerts_per_day=_A_DAY),
        ruleset=load_rules([shipped.folder("rules")]).ruleset if rules else RuleSet(),
        cooldown=timedelta(seconds=Alerts().cooldown_seconds),
        budget=_A_DAY,
        jobs=len(os.sched_getaffinity(0)),
    )
    return protocol.run(judged, seconds, setup)


def stressed(judged: Cases) -> Iterator[tuple[str, Cases]]:
    """What is harder: other attacks on the same hosts, and the same attacks on hosts with an odder history."""
    yield "harder attacks", replace(judged, attacks=stress.reference(judged.attacks))
    for odd in ODD_HISTORIES:
        yield str(odd), replace(judged, hosts=[with_odd_history(host, odd) for host in judged.hosts])


def measure(data: Path = DATA) -> Iterator[Figure]:
    """The protocol for snapshots of 300 s and of 60 s; without the captures there is nothing to measure."""
    if not at_hand(data):
        return
    judged = cases(data)
    for seconds in (300, 60):
        result = run(judged, seconds)
        known = "; ".join(
            f"{name}: {pr_auc:.3f}, {share:.3f} @ {rate}"
            for at, name, pr_auc, share, rate in _KNOWN_FIGURES
            if at == seconds
        )
        label = f"{seconds} s, {len(result.episodes)} episodes"
        yield Figure(f"{label}: PR-AUC", mean([each.pr_auc for each in result.episodes]), "", known)
        yield Figure(
            f"{label}: caught by the score", share_by_score(result.episodes), "", "threshold from history alone"
        )
        yield _false(label, "the score", result.score_incidents)
        for least in (Severity.LOW, Severity.MEDIUM):
            rules = f"rules of {least} severity and above"
            yield Figure(f"{label}: caught by {rules}", share_by_rules(result.episodes, least), "", "the shipped ones")
            yield _false(label, rules, result.rule_incidents(least))


def _false(label: str, teller: str, incidents: Incidents) -> Figure:
    note = f"{incidents.events} in {incidents.days:.2f} days, 95 % bound {incidents.bound:.1f} a day"
    return Figure(f"{label}: false incidents of {teller}", incidents.rate, "1/day", note)


def at_hand(data: Path) -> bool:
    """Whether the captures are; says so on standard error if they are not."""
    there = (data / "rita_vps").is_dir()
    if not there:
        print(f"no captures at {data}; nothing measured", file=sys.stderr)
    return there


def main() -> int:
    """Prints the figures attack by attack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", default="300,60", help="snapshot lengths")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--stress", action="store_true", help="also harder attacks, and hosts with an odder history")
    parser.add_argument("--only-stress", action="store_true", help="these alone")
    parser.add_argument("--rules", choices=("all", "none"), default="all", help="none: only what the score tells")
    arguments = parser.parse_args()
    if at_hand(arguments.data):
        judged = cases(arguments.data)
        for seconds in map(int, arguments.seconds.split(",")):
            parts = [] if arguments.only_stress else [("", judged)]
            parts += stressed(judged) if arguments.stress or arguments.only_stress else []
            for title, part in parts:
                print_result(run(part, seconds, rules=arguments.rules == "all"), Severity.LOW, title)
            for at, name, pr_auc, share, rate in _KNOWN_FIGURES:
                if at == seconds:
                    print(f"{name}, as the captures' README.md gives it: {pr_auc:.3f}, {share:.3f} @ {rate}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
