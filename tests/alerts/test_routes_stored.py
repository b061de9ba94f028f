"""Routes as the book follows them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from detector.alerts.book import AlertBook
from detector.config_routes import Route
from detector.domain import EvidenceRef, Finding, Severity
from detector.store.engine import writing
from detector.store.outbox import list_notifications
from tests.alerts.hosts import MAIL, PAGER
from tests.builders import Recorder, count, stored

if TYPE_CHECKING:
    from sqlalchemy import Engine


def test_routes_choose_by_whose_doing_it_is(sqlite_engine: Engine) -> None:
    """A route that looks at accounts is given all of those in the alert; who is not told is noted, with the reason."""
    routes = Route(channels=("pager",), user=("ro*",)), Route(channels=("mail",))
    recorder = Recorder(sqlite_engine)
    ref = recorder.snapshot(count(user="root"))
    (row,) = stored(sqlite_engine, ref)
    found = Finding(
        rule_id="scan",
        rule_title="Scan",
        severity=Severity.CRITICAL,
        fingerprint="f" * 32,
        group={},
        start=ref.start,
        end=ref.end,
        evidence=(EvidenceRef(seq=ref.seq, key_id=row.key_id, session=0),),
    )
    with writing(sqlite_engine) as connection:
        AlertBook((MAIL, PAGER), timedelta(hours=1), routes=routes).record(connection, ref, [found])
        sent = list_notifications(connection)
    assert {(each.channel, each.state.value, each.reason) for each in sent} == {
        ("mail", "withheld", "not routed here: routes[0]"),
        ("pager", "pending", "opened"),
    }
