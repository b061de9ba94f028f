"""The protocol: each host's history, its benign test, and every attack played into the test at each offset.

Nothing is fitted to the test: the threshold follows from the wish for at most so many false incidents a day, and rules
are as they are. A false incident is an hour of a host, without attack, with anything told.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from detector.evaluation.cases import moved, surroundings_of
from detector.evaluation.connects import by_snapshot, mixed
from detector.evaluation.crew import Crew
from detector.evaluation.figures import pr_auc, precision_recall, roc_auc
from detector.evaluation.player import Player
from detector.evaluation.results import RECALLS, Benign, Caught, Episode, Result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import timedelta

    from detector.config import Models
    from detector.domain import Snapshot
    from detector.evaluation.cases import Attack, Cases, Host, Surroundings
    from detector.evaluation.connects import Place
    from detector.evaluation.player import Found, Row
    from detector.ruleset.evaluate import RuleSet

OFFSETS = (0.1, 0.35, 0.6)
"""Where in the test an attack begins."""
_HOUR = 3600.0
_LEAST_HISTORY_HOURS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """How it is judged."""

    models: Models
    """As configured; burn-in lasts no longer than the history."""
    ruleset: RuleSet
    cooldown: timedelta
    """See `alerts.book.AlertBook`."""
    budget: float = 1.0
    """How many false incidents a host and day are wished for at most, where the score alone decides."""
    offsets: Sequence[float] = OFFSETS
    jobs: int = 1
    seed: int = 0
    """Of what is planted."""

    @property
    def threshold(self) -> float:
        """The surprise above which the score alone would tell: an hour holds that with probability budget / 24."""
        return math.log10(24 / self.budget)


class _Stand(msgspec.Struct, frozen=True):
    """Where a host stands at an offset."""

    offset: float
    begin: float
    index: int
    """Of the next snapshot."""
    image: bytes


class _Base(msgspec.Struct, frozen=True):
    """A host that was played to its end without attack."""

    benign: Benign
    stands: list[_Stand]


def run(cases: Cases, seconds: int, setup: Setup, told: Callable[[float], None] = lambda _: None) -> Result:
    """Runs the protocol in snapshots of so many seconds.

    Args:
        cases: hosts and attacks.
        seconds: the length of a snapshot.
        setup: how.
        told: is called with the part of 1 that is done.

    Raises:
        DetectorError: a process ended without a result.
    """
    work = _Work(cases, seconds, setup, told)
    crew = Crew(setup.jobs)
    for number, host in enumerate(work.hosts):
        crew.add(partial(work.play_host, host), partial(work.play_attacks, crew, number, host))
    crew.run()
    return Result(
        seconds=seconds,
        threshold=setup.threshold,
        budget=setup.budget,
        benign=[work.benign[number] for number in sorted(work.benign)],
        episodes=[work.episodes[place] for place in sorted(work.episodes)],
        left_out=work.left_out,
    )


class _Work:
    """The pieces of a run, and what came of them."""

    def __init__(self, cases: Cases, seconds: int, setup: Setup, told: Callable[[float], None]) -> None:
        self._attacks, self._seconds, self._setup, self._told = cases.attacks, seconds, setup, told
        self.left_out: dict[str, str] = dict(cases.left_out)
        self.benign: dict[int, Benign] = {}
        self.episodes: dict[tuple[int, int, float], Episode] = {}
        self.hosts: list[Host] = []
        self._done = self._all = 0.0
        for host in cases.hosts:
            snapshots = host.snapshots(seconds)
            hours = sum(map(_seconds, snapshots[: _split(host, snapshots)])) / _HOUR
            if hours < _LEAST_HISTORY_HOURS:
                self.left_out[host.name] = f"a history of {hours:.1f} hours; {_LEAST_HISTORY_HOURS:.0f} are the least"
                continue
            self.hosts.append(host)
            test = len(snapshots) - _split(host, snapshots)
            self._all += len(snapshots)
            self._all += sum(test * (1 - offset) for offset in setup.offsets) * len(cases.attacks)

    def play_host(self, host: Host) -> bytes:
        """Plays a host without attack; keeps where it stood at the offsets."""
        snapshots, setup = host.snapshots(self._seconds), self._setup
        split = _split(host, snapshots)
        player = Player(self._models(snapshots[:split]), setup.ruleset, setup.cooldown)
        player.play(snapshots[:split])
        stands, rows, found, done = [], [], [], split
        for offset in sorted(setup.offsets):
            begin = host.middle + offset * (host.last - host.middle)
            index = next((n for n, each in enumerate(snapshots) if each.end.timestamp() > begin), len(snapshots))
            played = player.play(snapshots[done:index])
            rows += played.rows
            found += played.found
            done = index
            stands.append(_Stand(offset, begin, index, player.image()))
        played = player.play(snapshots[done:])
        player.close()
        hours = sum(map(_seconds, snapshots[:split])) / _HOUR
        benign = Benign(
            host=host.name,
            days=host.days,
            hours_of_history=hours,
            rows=rows + played.rows,
            found=found + played.found,
        )
        return msgspec.msgpack.encode(_Base(benign, stands))

    def play_attacks(self, crew: Crew, number: int, host: Host, content: bytes) -> None:
        """Has every attack played on a host that was played without."""
        base = msgspec.msgpack.decode(content, type=_Base)
        self.benign[number] = base.benign
        snapshots = host.snapshots(self._seconds)
        self._advance(len(snapshots))
        found = surroundings_of(snapshots[: _split(host, snapshots)], start=host.middle, left=host.last - host.middle)
        for order, attack in enumerate(self._attacks):
            for stand in base.stands:
                surroundings = replace(found, start=stand.begin, left=host.last - stand.begin)
                crew.add(
                    partial(self.play_attack, host, attack, surroundings, stand, base.benign),
                    partial(self._take, (number, order, stand.offset), len(snapshots) - stand.index),
                )

    def play_attack(
        self, host: Host, attack: Attack, surroundings: Surroundings, stand: _Stand, benign: Benign
    ) -> bytes:
        """Plays an attack into a host's test, from where it begins to the end of the test."""
        chance = random.Random(f"{self._setup.seed}/{host.name}/{attack.name}/{stand.offset}")  # noqa: S311 - as planned
        snapshots = host.snapshots(self._seconds)
        connects = moved(attack.connects(surroundings, chance), surroundings) if surroundings.places else []
        added = by_snapshot(connects, snapshots)
        if not added:
            return msgspec.msgpack.encode(None)
        attacked: dict[float, set[Place]] = {
            snapshots[index].start.timestamp(): {(each.key, each.session) for each in counts}
            for index, counts in added.items()
        }
        mixture = [mixed(each, added[index]) if index in added else each for index, each in enumerate(snapshots)]
        settings = self._models(snapshots[: _split(host, snapshots)])
        player = Player(settings, self._setup.ruleset, self._setup.cooldown, image=stand.image)
        over = max(added) + 1
        during = player.play(mixture[stand.index : over], attacked)
        # What rules find later is not of the attack. What the models say is: they have learnt from it.
        after = player.play(mixture[over:], rules=False)
        player.close()
        before = [row for row in benign.rows if row.start < snapshots[stand.index].start.timestamp()]
        rows = [*before, *during.rows, *after.rows]
        return msgspec.msgpack.encode(self._judged(host.name, attack.name, stand.offset, rows, during.found))

    def _judged(self, host: str, attack: str, offset: float, rows: list[Row], found: Iterable[Found]) -> Episode:
        truth, surprise = [row.attack for row in rows], [row.surprise for row in rows]
        of_attack = [row for row in rows if row.attack]
        begin = min(row.start for row in of_attack)
        strangest = max(of_attack, key=lambda row: row.surprise)
        by_score = [row.start for row in of_attack if row.surprise > self._setup.threshold]
        first: dict[str, Found] = {}
        for each in found:
            if each.of_attack:
                first.setdefault(each.rule, each)
        precision, recall = precision_recall(truth, surprise)
        reached = np.searchsorted(recall, np.array(RECALLS) - 1e-9)
        return Episode(
            host=host,
            attack=attack,
            offset=offset,
            rows=len(of_attack),
            pr_auc=pr_auc(truth, surprise),
            roc_auc=roc_auc(truth, surprise),
            peak=strangest.surprise,
            channel=strangest.channel,
            minutes=(min(by_score) - begin) / 60 if by_score else None,
            rules=tuple(
                Caught(rule=each.rule, severity=each.severity, minutes=(each.start - begin) / 60)
                for each in first.values()
            ),
            precisions=tuple(precision[reached].tolist()),
        )

    def _take(self, place: tuple[int, int, float], cost: float, content: bytes) -> None:
        self._advance(cost)
        episode = msgspec.msgpack.decode(content, type=Episode | None)
        if episode is not None:
            self.episodes[place] = episode

    def _advance(self, cost: float) -> None:
        self._done += cost
        self._told(min(1.0, self._done / max(1.0, self._all)))

    def _models(self, history: Sequence[Snapshot]) -> Models:
        hours = sum(map(_seconds, history)) / _HOUR
        return msgspec.structs.replace(self._setup.models, burn_in_hours=min(hours, self._setup.models.burn_in_hours))


def _split(host: Host, snapshots: Sequence[Snapshot]) -> int:
    """How many snapshots are history: all that ended when the test began."""
    return sum(1 for each in snapshots if each.end.timestamp() <= host.middle)


def _seconds(snapshot: Snapshot) -> float:
    return (snapshot.end - snapshot.start).total_seconds()
