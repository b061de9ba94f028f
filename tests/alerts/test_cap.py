"""The scores of a host open no more than so many alerts in a day, and nothing is lost by that."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from detector import shipped
from detector.domain import EvidenceRef
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
