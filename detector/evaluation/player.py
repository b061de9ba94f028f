"""Plays snapshots through the whole of detection, in a database in memory, and remembers what was said of them.

Import, store, models, rules and alerts are the product's own; only the database is one that nobody else sees.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import select

from detector import pipeline
from detector.alerts.book import AlertBook
from detector.alerts.covering import Covering
from detector.alerts.policy import Decision
from detector.collector.log_lines import LoggedSnapshot
from detector.domain import Severity  # noqa: TC001 - msgspec reads the types of fields
from detector.models.scorer import HostScorer
from detector.ruleset.needs import Needs
from detector.service.importing import LogImport
from detector.store.engine import open_store, reading
from detector.store.imports import Source
from detector.store.tables import findings, metadata

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from sqlalchemy import Connection

    from detector.config import Models
    from detector.domain import (
        Finding,
        IPAddress,
        Learning,
        Observation,
        Snapshot,
        SnapshotRef,
        StoredCount,
        ThresholdMove,
    )
    from detector.evaluation.connects import Place
    from detector.ruleset.evaluate import RuleSet

_SOURCE = Source(digest=bytes(16), format="evaluation", name="", options="")
# What no rules look at.
_NOTHING = Needs(())


class Row(msgspec.Struct, frozen=True, array_like=True):
    """What detection said of one row."""

    start: float
    """Of its snapshot: seconds since 1970."""
    place: str
    """Address and port."""
    attack: bool
    surprise: float
    channel: str | None


class Found(msgspec.Struct, frozen=True, array_like=True):
    """A finding of a rule that became part of an alert."""

    start: float
    """Of its snapshot: seconds since 1970."""
    rule: str
    """Its title."""
    severity: Severity
    decision: Decision
    """What became of it."""
    of_attack: bool
    """Whether a row of the attack is among its evidence."""

    @property
    def told(self) -> bool:
        """Whether a person was told: the first of an incident, and when that has grown much."""
        return self.decision.sends


@dataclass(slots=True)
class Played:
    """What was said of some snapshots."""

    rows: list[Row] = field(default_factory=list)
    found: list[Found] = field(default_factory=list)


class _Watched:
    """A scorer that remembers what it says."""

    def __init__(self, settings: Models) -> None:
        self._scorer = HostScorer(settings)
        self.rows: list[Row] = []
        self.attacked: Mapping[float, set[Place]] = {}
        """The places of the attack by the start of the snapshot."""
        self.attacks: set[tuple[int, int, int]] = set()
        """Its rows as evidence names them: seq, key and session."""

    def score(
        self, connection: Connection, snapshot: SnapshotRef, counts: Sequence[StoredCount]
    ) -> tuple[Sequence[Observation], Learning]:
        observed, learning = self._scorer.score(connection, snapshot, counts)
        start = snapshot.start.timestamp()
        attacked = self.attacked.get(start, set())
        for stored, each in zip(counts, observed, strict=True):
            key, session = stored.count.key, stored.count.session
            of_attack = (key, session) in attacked
            if of_attack:
                self.attacks.add((snapshot.seq, stored.key_id, session))
            self.rows.append(
                Row(start, _place(key.remote_address, key.remote_port), of_attack, each.surprise or 0.0, each.channel)
            )
        return observed, learning

    def learning(self, connection: Connection, host_id: int) -> Learning:
        return self._scorer.learning(connection, host_id)

    def moved(self, connection: Connection, snapshot: SnapshotRef) -> ThresholdMove | None:
        return self._scorer.moved(connection, snapshot)


def _place(address: IPAddress | None, port: int | None) -> str:
    return f"{address} {port}"


class _Listening:
    """Rules that can be switched off where nothing is asked of them, and whose findings are remembered."""

    def __init__(self, ruleset: RuleSet) -> None:
        self._ruleset = ruleset
        self.on = True
        self.found: list[tuple[SnapshotRef, Finding]] = []

    @property
    def needs(self) -> Needs:
        return self._ruleset.needs if self.on else _NOTHING

    def prepare(self, connection: Connection) -> None:
        if self.on:
            self._ruleset.prepare(connection)

    def evaluate(self, connection: Connection, snapshot: SnapshotRef) -> Sequence[Finding]:
        if not self.on:
            return []
        found = self._ruleset.evaluate(connection, snapshot)
        self.found += [(snapshot, each) for each in found]
        return found


class Player:
    """One host in a database in memory, standing after the last snapshot that was played."""

    def __init__(self, settings: Models, ruleset: RuleSet, cooldown: timedelta, *, image: bytes | None = None) -> None:
        """Stands at the beginning, or where the player stood that `image` is of (see `image`).

        Rules remember what they counted of a host: no other player may have this `ruleset` at the same time.
        """
        ruleset.forget()
        self._scorer, self._rules = _Watched(settings), _Listening(ruleset)
        # Each rule is judged by what it would tell if there were no others.
        book = AlertBook([], cooldown, covering=Covering(None))
        self._stages = pipeline.Stages(scorer=self._scorer, ruleset=self._rules, alert_book=book)
        self._engine = open_store("sqlite://")
        if image is None:
            metadata.create_all(self._engine)
        else:
            with self._engine.connect() as connection:
                _driver(connection).deserialize(image)

    def image(self) -> bytes:
        """All that is stored, for another player."""
        with self._engine.connect() as connection:
            content: bytes = _driver(connection).serialize()
        return content

    def close(self) -> None:
        """Frees the database."""
        self._engine.dispose()

    def play(
        self, snapshots: Sequence[Snapshot], attacked: Mapping[float, set[Place]] | None = None, *, rules: bool = True
    ) -> Played:
        """Imports the snapshots, takes them through detection, and says what came of it.

        Args:
            snapshots: they follow those played before.
            attacked: which places are the attack's, by the start of their snapshot in seconds since 1970.
            rules: whether rules look at them; once they have not, they must not again.
        """
        self._scorer.rows, self._rules.found, self._rules.on = [], [], rules
        self._scorer.attacked = attacked or {}
        LogImport(self._engine, _SOURCE, live_host="").run(LoggedSnapshot(each, len(each.counts)) for each in snapshots)
        for host_id in pipeline.hosts_behind(self._engine):
            while pipeline.detect_next(self._engine, host_id, self._stages) is not None:
                pass
        return Played(rows=self._scorer.rows, found=self._recorded())

    def _recorded(self) -> list[Found]:
        """The findings that became part of an alert: those of burn-in did not."""
        if not self._rules.found:
            return []
        decided: dict[tuple[int, str, str], Decision] = {}
        columns = findings.c
        with reading(self._engine) as connection:
            for row in connection.execute(select(columns.seq, columns.rule_id, columns.fingerprint, columns.decision)):
                decided[row.seq, row.rule_id, row.fingerprint] = Decision(row.decision)
        recorded = []
        for snapshot, each in self._rules.found:
            decision = decided.get((snapshot.seq, each.rule_id, each.fingerprint))
            if decision is not None:
                evidence = {(place.seq, place.key_id, place.session) for place in each.evidence}
                recorded.append(
                    Found(
                        snapshot.start.timestamp(),
                        each.rule_title,
                        each.severity,
                        decision,
                        not evidence.isdisjoint(self._scorer.attacks),
                    )
                )
        return recorded


def _driver(connection: Connection) -> Any:
    return connection.connection.driver_connection
