"""Many rules: each is compiled once, and still does what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from detector.ruleset.load import load_rules
from detector.store.engine import reading
from tests.builders import Recorder, count
from tests.ruleset.many_rules import write_many
from tests.ruleset.writing import rule_id

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine


def test_a_thousand_rules_are_compiled_once(engine: Engine, tmp_path: Path) -> None:
    """Each rule finds its own row among many, and a second snapshot compiles no SQL anew."""
    write_many(tmp_path, 1000)
    loaded = load_rules([tmp_path])
    assert loaded.faults == ()
    recorder = Recorder(engine)
    compiled: dict[Any, Any] = {}
    sizes = []
    for step in (100, 250):
        ref = recorder.snapshot(*(count(port=port) for port in range(1, 1001, step)))
        with reading(engine) as connection:
            found = loaded.ruleset.evaluate(connection.execution_options(compiled_cache=compiled), ref)
        assert [finding.rule_id for finding in found] == [rule_id(port) for port in range(1, 1001, step)]
        sizes.append(len(compiled))
    assert 0 < sizes[0] == sizes[1]
