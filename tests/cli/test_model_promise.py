"""`detector model status` and `detector model feedback`."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import insert

from detector import shipped
from detector.config import Models
from detector.models.scorer import HostScorer
from detector.store import cursors
from detector.store.engine import writing
from detector.store.tables import evidence, model_adjustments
from tests.builders import START, Recorder, count, insert_alert, read_counts

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from tests.cli.conftest import Call


@pytest.fixture
def learnt(engine: Engine) -> Engine:
    """A host that was watched from Monday 9:00 for 30 hours, with an alert by its scores."""
    recorder = Recorder(engine, interval=timedelta(minutes=30))
    scorer = HostScorer(Models())
    for _ in range(60):
        ref = recorder.snapshot(count())
        with writing(engine) as connection:
            cursors.create_cursors(connection)
            scorer.score(connection, ref, read_counts(connection, ref))
            cursors.advance_cursor(connection, ref)
    opened = START + timedelta(hours=29)
    insert_alert(engine, alert_id=7, rule_id=shipped.ANOMALY_RULE, opened_at=opened, start=opened, end=opened)
    insert_alert(engine, alert_id=8)
    with writing(engine) as connection:
        connection.execute(insert(evidence).values(alert_id=7, seq=59, key_id=1, session=0, found_seq=59))
    return engine


@pytest.mark.usefixtures("zone", "learnt")
def test_status_says_what_is_learnt_and_what_is_missing(call: Call) -> None:
    """How long, which hours of the week, the threshold and what it is made of, promise and what was told."""
    result = call("model", "status")

    assert result.code == 0, result.err
    first, scores, weekdays, weekends, days, restarts, limit, moved, promised, forest, state = result.lines
    assert first == "bastion-1: 30.0 hours observed until 2026-03-03 16:00:00+01:00"
    assert scores == "  scores      since 2026-03-03 09:30:00+01:00"
    assert weekdays == "  weekdays    ---------++++++---------  all hours seen"
    assert weekends == "  weekends    ........................  not seen yet: 00-24"
    assert days.startswith("  days        not seen whole yet: Monday, Tuesday, Wednesday, ")
    assert days.endswith("Sunday; no first of a month")
    assert restarts == "  restarts    none seen yet"
    assert limit.startswith("  threshold   surprise 2.")
    assert "promised" in limit
    assert moved == "  moved       not yet"
    assert promised == "  promise     at most 0.143 false alerts a day; 1 in 0.3 days, 3.69 a day"
    assert forest == "  forest      none is in force yet"
    assert "subjects" in state


@pytest.mark.usefixtures("zone")
def test_status_says_when_the_threshold_last_moved(learnt: Engine, call: Call) -> None:
    """From where to where and why; of one host all moves, the first of them from what was promised."""
    with writing(learnt) as connection:
        for number, surprise in enumerate((2.3454, 2.5952), start=1):
            at = START + timedelta(hours=25 + number)
            values = {"observed": 2.3454, "correction": 0.25 * (number - 1), "surprise": surprise}
            connection.execute(insert(model_adjustments).values(host_id=1, number=number, at=at, **values))
    assert "  moved       last 2026-03-03 13:00:00+01:00, from 2.35 to 2.60 (hours: 2.35, alerts: +0.25)" in (
        call("model", "status").lines
    )
    assert call("model", "status", "--host", "bastion-1").lines[-2:] == [
        "    2026-03-03 12:00:00+01:00  to 2.35 (hours: 2.35, alerts: +0.00)",
        "    2026-03-03 13:00:00+01:00  to 2.60 (hours: 2.35, alerts: +0.25)",
    ]
    (one,) = json.loads(call("model", "status", "--json").out)
    assert [(move["before"], move["after"]) for move in one["moves"]] == [
        (pytest.approx(2.2249, abs=1e-4), 2.3454),
        (2.3454, 2.5952),
    ]


@pytest.mark.usefixtures("learnt")
def test_status_as_json(call: Call) -> None:
    """All of it in names, with the hours of the week one by one."""
    (one,) = json.loads(call("model", "status", "--json", "--host", "bastion-1").out)
    assert (one["host"], one["scoring"], one["observed_hours"], one["false_alerts"]) == ("bastion-1", True, 30.0, 1)
    assert one["missing_weekday_hours"] == []
    assert len(one["missing_weekend_hours"]) == 24
    assert one["week_hours"][0][9] == 1.0
    assert len(one["missing_days"]) == 7
    assert (one["first_of_a_month_seen"], one["restarts"], one["restarted_at"]) == (False, 0, None)
    assert one["threshold"]["surprise"] > one["threshold"]["promised"] - 0.1
    assert one["false_alerts_per_day"]["promised"] == 0.143
    assert json.loads(call("model", "status", "--json", "--host", "other").out) == []


@pytest.mark.usefixtures("store")
def test_status_of_nothing_is_said(call: Call) -> None:
    """On standard error, and it is no fault."""
    result = call("model", "status")
    assert (result.code, result.out, result.err) == (0, "", "nothing was learnt of any host yet\n")


@pytest.mark.usefixtures("learnt")
def test_feedback_is_added_listed_and_undone(call: Call) -> None:
    """With who, what and why; the threshold follows, and says so."""
    added = call("model", "feedback", "add", "7", "true", "--reason", "a \x1b[31mpentest", "--author", "alice")
    assert added.code == 0, added.err
    assert added.out.startswith(
        "alert 7 is true: 1 key behind it will not be learnt; from its next hour on, alerts move the threshold of its "
        "host by "
    )
    assert json.loads(call("model", "status", "--json").out)[0]["false_alerts"] == 0

    listed = call("model", "feedback", "list")
    assert listed.lines[1].split()[0] == "7"
    assert "alice" in listed.lines[1]
    assert "1 key: not learnt, 1 where strange" in listed.lines[1]
    assert "\x1b" not in listed.out
    (one,) = json.loads(call("model", "feedback", "list", "--json").out)
    assert (one["alert_id"], one["verdict"], one["author"], one["host"]) == (7, "true", "alice", "bastion-1")
    assert (one["keys"], one["limited_keys"], one["rows"]) == (1, 1, 1)

    undone = call("model", "feedback", "undo", "7")
    assert undone.out.startswith("nothing is said of alert 7 any more: 1 key is judged as before it was said; from its")
    assert json.loads(call("model", "feedback", "list", "--json").out) == []


@pytest.mark.usefixtures("learnt")
def test_feedback_on_other_alerts_moves_nothing(call: Call) -> None:
    """It is kept all the same, and what is said again takes its place."""
    assert call("model", "feedback", "add", "8", "benign").out.endswith("so no threshold moves\n")
    call("model", "feedback", "add", "8", "true")
    (one,) = json.loads(call("model", "feedback", "list", "--json").out)
    assert (one["alert_id"], one["verdict"]) == (8, "true")


@pytest.mark.usefixtures("learnt")
def test_feedback_on_nothing_is_a_fault(call: Call) -> None:
    """With what to do."""
    result = call("model", "feedback", "add", "99", "true")
    assert (result.code, result.out) == (1, "")
    assert result.err == "detector: there is no alert 99\n  see: detector alerts list\n"
    assert "nothing was said of alert 7" in call("model", "feedback", "undo", "7").err
