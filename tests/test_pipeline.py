"""What detection as a whole keeps to, whatever its stages do."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest

from detector import pipeline
from detector.config import Settings
from detector.ruleset.load import load_rules
from detector.service.detecting import build_stages
from tests.builders import Recorder, count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Engine

    from detector.domain import Finding, SnapshotRef
    from detector.store.recent import Needed


class _BrokenError(Exception):
    """Of which nobody has heard."""


class _Rules:
    """Notes whether the interpreter may search for garbage; finds nothing, or fails."""

    def __init__(self, *, fail: bool) -> None:
        self.fail, self.searches = fail, []  # type: bool, list[bool]
        self._none = load_rules([]).ruleset

    @property
    def needs(self) -> Needed:
        return self._none.needs

    def prepare(self, connection: Connection) -> None:
        self._none.prepare(connection)

    def evaluate(self, connection: Connection, snapshot: SnapshotRef) -> Sequence[Finding]:
        self.searches.append(gc.isenabled())
        if self.fail:
            raise _BrokenError
        return self._none.evaluate(connection, snapshot)


@pytest.mark.parametrize("fail", [False, True])
def test_the_interpreter_searches_for_garbage_between_snapshots_only(sqlite_engine: Engine, *, fail: bool) -> None:
    """Also after a snapshot of which detection failed."""
    Recorder(sqlite_engine, unpacked=False).snapshot(count())
    (host_id,) = pipeline.hosts_behind(sqlite_engine)
    rules = _Rules(fail=fail)
    built = build_stages(Settings(), load_rules([]).ruleset)
    stages = pipeline.Stages(scorer=built.scorer, ruleset=rules, alert_book=built.alert_book)
    if fail:
        with pytest.raises(_BrokenError):
            pipeline.detect_next(sqlite_engine, host_id, stages)
    else:
        assert pipeline.detect_next(sqlite_engine, host_id, stages)
    assert rules.searches == [False]
    assert gc.isenabled()
