"""`detector alerts` of an alert without rows."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING

from detector import shipped
from detector.alerts.book import AlertBook
from detector.domain import Losses
from detector.ruleset.load import load_rules
from detector.store.engine import open_store, writing
from tests.builders import Recorder, count

if TYPE_CHECKING:
    from tests.cli.conftest import Call


def test_an_alert_about_capture_is_shown_without_rows(call: Call, store: str) -> None:
    """Its summary, what was decided and that there are no rows; the same as JSON."""
    engine = open_store(store)
    ref = Recorder(engine).snapshot(count(), losses=Losses(attempted=312))
    with writing(engine) as connection:
        found = load_rules([shipped.folder("rules")]).ruleset.evaluate(connection, ref)
        AlertBook((), timedelta(minutes=10)).record(connection, ref, found)
    engine.dispose()
    shown = call("alerts", "show", "1")
    assert shown.code == 0
    assert "Capture on bastion-1 lost 312 events in 10 s (312 attempts without room)." in shown.lines
    assert "Rows (0):" in shown.lines
    written = json.loads(call("alerts", "show", "1", "--json").out)
    assert (written["rows"], written["attempted"], written["group"]) == ([], 0, {"host": "bastion-1"})
    assert "Connects were not counted" in call("alerts", "list").out
