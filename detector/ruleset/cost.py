"""How long each rule takes to look at a snapshot."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from detector.ruleset.evaluate import RuleSet

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from detector.domain import SnapshotRef
    from detector.ruleset.evaluate import Rule


def costs(connection: Connection, snapshot: SnapshotRef, rules: Iterable[Rule]) -> dict[str, float]:
    """Milliseconds by the id of each rule that reports, evaluated alone on `snapshot`, as often happens after the first
    time: statements are compiled, and what a correlation remembers of its window is there.

    Together rules take less: one statement looks at a snapshot for many. Those that would write are left out: what they
    remember is detection's.
    """
    found = {}
    for rule in rules:
        alone = RuleSet((rule,))
        if rule.produces_findings and alone.only_reads(connection):
            alone.evaluate(connection, snapshot)
            began = time.perf_counter()
            alone.evaluate(connection, snapshot)
            found[rule.rule_id] = (time.perf_counter() - began) * 1000
    return found
