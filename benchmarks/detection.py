"""How well attacks are told from ordinary traffic: recorded captures, through the product's own scorer.

Three hosts, eight attacks, each played into the host's second half at three offsets. The first half is burn-in; the
threshold follows from it and the wish for at most one false incident a day, and nothing is fitted to the second half.
A row is one destination and port in one snapshot. A false incident is an hour of a host, without attack, with an alert;
a key alerts again only after 24 h or at ten times the surprise's odds.

`python -m benchmarks.detection [--seconds 300,60] [--data FOLDER]` prints it attack by attack.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmarks.captures import load
from benchmarks.figures import Figure
from benchmarks.replay import Replay, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from benchmarks.captures import Connect
    from detector.domain import IPAddress

DATA = Path(__file__).parents[2] / "shared" / "data"
OFFSETS = (0.1, 0.35, 0.6)
FALSE_INCIDENTS_A_DAY = 1.0
THRESHOLD = math.log10(24 / FALSE_INCIDENTS_A_DAY)
_DAY = 86_400.0
# As the captures' README.md gives them: seconds, detector, PR-AUC, caught, false incidents per host and day.
_KNOWN_FIGURES = (
    (300, "isolation forest, 14 features", 0.724, 0.708, 8.6),
    (300, "reference", 0.966, 1.0, 0.0),
    (60, "isolation forest, 14 features", 0.729, 0.694, 3.6),
    (60, "reference", 0.990, 1.0, 0.0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """One attack on one host at one offset."""

    attack: str
    pr_auc: float
    roc_auc: float
    minutes: float | None
    """From its first connect to the first alert; None: missed."""
    channel: str | None
    """That of its most surprising row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFigures:
    """What became of one host."""

    days: float
    false_incidents: int
    episodes: tuple[Episode, ...]


def run_host(
    name: str, connects: list[Connect], attacks: Mapping[str, list[Connect]], seconds: int, *, with_forest: bool = True
) -> HostFigures:
    """Plays one host's history, its benign second half, and every attack at every offset."""
    first, last, middle = connects[0].at, connects[-1].at, connects[len(connects) // 2].at
    split = int((middle - first) // seconds)
    replay = Replay(name, first, seconds, burn_in_seconds=split * seconds, with_forest=with_forest)
    end = replay.interval(last) + 1
    replay.play(connects, range(split))
    usual = Counter((each.address, each.port) for each in connects if each.at < middle)
    known = sorted(usual, key=lambda place: (-usual[place], str(place[0]), place[1]))[min(2, len(usual) - 1)]

    benign: list[Row] = []
    copies: list[tuple[float, int, Replay]] = []
    done = split
    for offset in OFFSETS:
        begin = middle + offset * (last - middle)
        benign += replay.play(connects, range(done, replay.interval(begin)))
        done = replay.interval(begin)
        copies.append((begin, done, replay.copy()))
    benign += replay.play(connects, range(done, end))

    episodes = []
    for begin, fork, stand in copies:
        before = [row for row in benign if row.interval < fork]
        for attack, opens in attacks.items():
            moved = [replace(each, at=each.at + begin) for each in opens if each.at + begin < last]
            moved = [replace(each, address=known[0], port=known[1]) if not each.port else each for each in moved]
            if moved:
                branch = stand.copy()
                rows = before + branch.play([*connects, *moved], range(fork, end))
                branch.close()
                episodes.append(_judged(attack, rows, seconds))
        stand.close()
    replay.close()
    return HostFigures(
        days=(last - middle) / _DAY, false_incidents=len(_alert_hours(benign, seconds)), episodes=tuple(episodes)
    )


def _judged(attack: str, rows: Sequence[Row], seconds: int) -> Episode:
    truth, surprise = [row.attack for row in rows], [row.surprise for row in rows]
    of_attack = [row for row in rows if row.attack]
    caught = [row.interval for row in of_attack if row.surprise > THRESHOLD]
    begin = min(row.interval for row in of_attack)
    return Episode(
        attack=attack,
        pr_auc=float(average_precision_score(truth, surprise)),
        roc_auc=float(roc_auc_score(truth, surprise)),
        minutes=(min(caught) - begin) * seconds / 60 if caught else None,
        channel=max(of_attack, key=lambda row: row.surprise).channel,
    )


def _alert_hours(rows: Sequence[Row], seconds: int) -> set[int]:
    hours: set[int] = set()
    last: dict[tuple[IPAddress, int], tuple[float, float]] = {}
    for row in rows:
        if row.surprise <= THRESHOLD:
            continue
        at, (when, surprise) = row.interval * seconds, last.get((row.address, row.port), (-math.inf, 0.0))
        if row.surprise > surprise + 1 or at - when > _DAY:
            last[row.address, row.port] = (at, row.surprise)
            hours.add(at // 3600)
    return hours


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The protocol's figures for one snapshot length."""

    seconds: int
    hosts: Mapping[str, HostFigures]

    @property
    def episodes(self) -> list[Episode]:
        """Of all hosts."""
        return [episode for each in self.hosts.values() for episode in each.episodes]

    @property
    def caught(self) -> float:
        """Share of the episodes."""
        return statistics.mean(episode.minutes is not None for episode in self.episodes)

    @property
    def false_incidents(self) -> int:
        """On all hosts."""
        return sum(each.false_incidents for each in self.hosts.values())

    @property
    def days(self) -> float:
        """Of all hosts' second halves."""
        return sum(each.days for each in self.hosts.values())

    @property
    def rate(self) -> float:
        """False incidents a day, the mean over hosts."""
        return statistics.mean(each.false_incidents / each.days for each in self.hosts.values())

    @property
    def rate_bound(self) -> float:
        """The 95 % bound on false incidents a day, of the hosts pooled (Garwood 1936), by bisection."""
        events, low, high = self.false_incidents, float(self.false_incidents), 10.0 * (self.false_incidents + 1)
        while high - low > 1e-9:
            mean = (low + high) / 2
            few = sum(math.exp(-mean) * mean**n / math.factorial(n) for n in range(events + 1))
            low, high = (mean, high) if few > 0.05 else (low, mean)
        return high / self.days


def run(data: Path, seconds: int, *, with_forest: bool = True) -> Result:
    """Runs the protocol for one snapshot length, with the isolation forest or without."""
    hosts, attacks = load(data)
    return Result(
        seconds=seconds,
        hosts={
            name: run_host(name, connects, attacks, seconds, with_forest=with_forest)
            for name, connects in hosts.items()
        },
    )


def measure(data: Path = DATA) -> Iterator[Figure]:
    """The protocol for snapshots of 300 s and of 60 s; without the captures there is nothing to measure."""
    if not _at_hand(data):
        return
    for seconds in (300, 60):
        result = run(data, seconds)
        known = "; ".join(
            f"{name}: {pr_auc:.3f}, {share:.3f} @ {rate}"
            for at, name, pr_auc, share, rate in _KNOWN_FIGURES
            if at == seconds
        )
        label = f"{seconds} s, {len(result.episodes)} episodes"
        yield Figure(f"{label}: PR-AUC", _mean(lambda e: e.pr_auc, result.episodes), "", known)
        yield Figure(f"{label}: caught", result.caught, "", "threshold from history alone")
        yield Figure(f"{label}: false incidents", result.rate, "1/day", f"95 % bound {result.rate_bound:.1f}")


def _at_hand(data: Path) -> bool:
    there = (data / "rita_vps").is_dir()
    if not there:
        print(f"detection: no captures at {data}; nothing measured", file=sys.stderr)
    return there


def _mean(value: Callable[[Episode], float], episodes: Sequence[Episode]) -> float:
    return statistics.mean(value(episode) for episode in episodes)


def _print(result: Result) -> None:
    episodes = result.episodes
    print(f"\nsnapshots of {result.seconds} s, {len(episodes)} episodes, threshold {THRESHOLD:.2f} from history alone")
    print(f"{'detector':32} {'PR-AUC':>7} {'ROC-AUC':>8} {'caught':>7} {'false incidents per host and day':>33}")
    print(
        f"{'this one':32} {_mean(lambda e: e.pr_auc, episodes):7.3f} {_mean(lambda e: e.roc_auc, episodes):8.3f} "
        f"{result.caught:7.3f} {result.rate:33.2f}"
    )
    for at, name, pr_auc, share, rate in _KNOWN_FIGURES:
        if at == result.seconds:
            print(f"{name + ' *':32} {pr_auc:7.3f} {'':8} {share:7.3f} {rate:33.2f}")
    minutes = [episode.minutes for episode in episodes if episode.minutes is not None] or [math.nan]
    by_host = ", ".join(f"{name} {each.false_incidents}" for name, each in result.hosts.items())
    print(
        "* as the captures' README.md gives it\n"
        f"{result.false_incidents} false incidents in {result.days:.2f} days ({by_host}); "
        f"95 % bound {result.rate_bound:.1f} a day; minutes to detection: median {statistics.median(minutes):.1f}, "
        f"p90 {np.percentile(minutes, 90):.1f}"
    )
    print(f"{'attack':32} {'PR-AUC':>7} {'ROC-AUC':>8} {'caught':>7}  decided by")
    for attack in dict.fromkeys(episode.attack for episode in episodes):
        chosen = [episode for episode in episodes if episode.attack == attack]
        share = statistics.mean(episode.minutes is not None for episode in chosen)
        by = ", ".join(f"{name} {times}" for name, times in Counter(e.channel for e in chosen).most_common())
        print(
            f"{attack:32} {_mean(lambda e: e.pr_auc, chosen):7.3f} {_mean(lambda e: e.roc_auc, chosen):8.3f} "
            f"{share:7.3f}  {by}"
        )


def main() -> int:
    """Prints the figures attack by attack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", default="300,60", help="snapshot lengths")
    parser.add_argument("--without-forest", action="store_true", help="leave the isolation forest out")
    parser.add_argument("--data", type=Path, default=DATA)
    arguments = parser.parse_args()
    if _at_hand(arguments.data):
        for seconds in map(int, arguments.seconds.split(",")):
            _print(run(arguments.data, seconds, with_forest=not arguments.without_forest))
    return 0


if __name__ == "__main__":
    sys.exit(main())
