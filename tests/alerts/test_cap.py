"""The scores of a host open no more than so many alerts in a day, and nothing is lost by that."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import select

from detector import shipped
from detector.domain import EvidenceRef
from detector.notify.notices import render_notice
from detector.service.holding_back import tell_held_back
from detector.store import notices
from detector.store.engine import reading
from detector.store.held_back import NOTICE, held_alerts, held_back
from detector.store.tables import notifications
from tests.alerts.hosts import Host, contents, finding
from tests.builders import count, observe, stored

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from detector.domain import Finding, SnapshotRef


def _strange(host: Host, number: int, first: int = 0) -> tuple[SnapshotRef, list[Finding]]:
    """A snapshot with so many strange rows, the later ones stranger, each a finding of its own."""
    ref = host.recorder.snapshot(*(count(f"10.0.9.{first + each}", 22) for each in range(1, number + 1)))
    rows = stored(host.engine, ref)
    said = {
        row.key_id: {"score": 0.999, "surprise": 3.0 + each, "unusual": True, "explanation": f"strange {first + each}"}
        for each, row in enumerate(rows, start=1)
    }
    observe(host.engine, ref, said)
    found = []
    for each, row in enumerate(rows, start=1):
        found.append(
            finding(
                ref,
                [EvidenceRef(seq=ref.seq, key_id=row.key_id, session=0)],
                rule_id=shipped.ANOMALY_RULE,
                rule_title="Unusual",
                fingerprint=f"{first + each:032x}",
            )
        )
    return ref, found


def test_what_is_beyond_the_cap_is_one_alert_that_holds_it_all(engine: Engine) -> None:
    """Five are told, the strangest; the others are in a sixth, with all their rows, the strangest named first."""
    host = Host(engine)
    ref, found = _strange(host, 12)
    host.record(ref, *found)
    told = [each for each in host.alerts() if "held back" not in each.rule_title]
    (held,) = [each for each in host.alerts() if "held back" in each.rule_title]
    assert sorted(each.explanations[0] for each in told) == [f"strange {number}" for number in (10, 11, 12, 8, 9)]
    assert held.rule_title == "Unusual: held back, beyond 5 alerts on 2026-03-02"
    assert held.destinations == 7
    assert held.explanations[0] == "strange 7"
    assert host.sent(held) == [("mail", "opened")]


def test_a_day_has_one_such_alert(engine: Engine) -> None:
    """What comes later is held there, too, and is told again when it has grown tenfold; the next day begins anew."""
    host = Host(engine)
    for first in (0, 10, 20):
        ref, found = _strange(host, 6, first)
        host.record(ref, *found)
        host.recorder.pass_time(hours=1)
    assert len(host.alerts()) == 6
    (held,) = [each for each in host.alerts() if "held back" in each.rule_title]
    assert (held.destinations, held.finding_count) == (13, 3)
    assert host.decisions().count("beyond the alerts of a day") == 1
    assert host.sent(held) == [("mail", "opened"), ("mail", "grown tenfold")]
    host.recorder.pass_time(hours=24)
    ref, found = _strange(host, 2, 40)
    host.record(ref, *found)
    assert len(host.alerts()) == 8


def test_what_goes_on_is_no_new_alert(engine: Engine) -> None:
    """Findings of alerts that were told are added to these, also beyond the cap; other rules are not held back."""
    host = Host(engine)
    ref, found = _strange(host, 5)
    host.record(ref, *found)
    ref, found = _strange(host, 5)
    host.record(ref, *found, finding(ref, found[0].evidence))
    assert len(host.alerts()) == 6
    assert not [each for each in host.alerts() if "held back" in each.rule_title]


def test_neither_order_nor_a_second_call_changes_what_is_held(engine: Engine) -> None:
    """Detection may be repeated."""
    host = Host(engine)
    ref, found = _strange(host, 9)
    random.Random(1).shuffle(found)
    host.record(ref, *found)
    before = contents(engine)
    host.record(ref, *sorted(found, key=lambda each: each.fingerprint))
    assert contents(engine) == before


def test_what_was_held_back_is_listed_by_how_strange_it_was(engine: Engine) -> None:
    """Each connection once, the strangest first, of all snapshots of the day."""
    host = Host(engine)
    for first in (0, 0, 10):
        ref, found = _strange(host, 9, first)
        host.record(ref, *found)
    with reading(engine) as connection:
        held = held_back(connection, held_alerts(connection))
        assert held_alerts(connection, host="other") == []
        assert held_alerts(connection, since=host.recorder.now) == []
    surprises = [each.row["surprise"] for each in held]
    assert surprises == sorted(surprises, reverse=True)
    assert len({each.row["key_id"] for each in held}) == len(held)
    assert {str(each.row["remote_address"]) for each in held} >= {"10.0.9.1", "10.0.9.2", "10.0.9.11", "10.0.9.19"}
    assert {each.alert.alert_id for each in held} == {6}
    assert {each.snapshots for each in held if str(each.row["remote_address"]) == "10.0.9.1"} == {2}


def test_when_the_day_is_over_what_was_held_back_is_told_once(engine: Engine) -> None:
    """In one message, ranked, to whoever was told when it began; nothing of a day that goes on, or is long over."""
    host = Host(engine)
    ref, found = _strange(host, 30)
    host.record(ref, *found)
    day = ref.end.replace(hour=0, minute=0, second=0, microsecond=0)
    assert tell_held_back(engine, ref.end) == 0
    assert tell_held_back(engine, day + timedelta(days=1, minutes=10)) == 0
    assert tell_held_back(engine, day + timedelta(days=5)) == 0
    assert tell_held_back(engine, day + timedelta(days=1, minutes=20)) == 1
    assert tell_held_back(engine, day + timedelta(days=1, minutes=25)) == 0
    with reading(engine) as connection:
        notice = notices.newest(connection, NOTICE)
        sent = connection.execute(
            select(notifications.c.channel, notifications.c.state).where(notifications.c.notice_id.is_not(None))
        ).all()
    assert notice is not None
    message = render_notice(notice)
    assert message.title == "bastion-1: Unusual: held back, beyond 5 alerts on 2026-03-02, 25 connections"
    first, *_, last = message.text.splitlines()
    assert first.startswith("1. surprise 28.0: alice, /usr/bin/ssh, -> 10.0.9.25:22, 1 in 1 snapshot; strange 25")
    assert "and 5 more, which are less strange" in message.text
    assert last == "all of it: detector alerts list --held --host bastion-1; detector alerts show 6"
    assert [tuple(row) for row in sent] == [("mail", "pending")]
