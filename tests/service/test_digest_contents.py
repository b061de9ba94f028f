"""The figures of a digest: exactly those of its period, the same on both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING

import pytest

from detector import shipped
from detector.config import Settings
from detector.digest import Digest, Kind, from_stored, to_stored
from detector.domain import Severity
from detector.ruleset.load import load_rules
from detector.service.digest_contents import Wanted, gather
from detector.store.engine import writing
from detector.store.tables import hosts
from tests.builders import insert_alert
from tests.service.digest_past import END, SCAN, START, fill

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from detector.ruleset.load import LoadedRules

WANTED = Wanted(kind=Kind.DAILY, start=START, end=END)


@cache
def _rules() -> LoadedRules:
    return load_rules([shipped.folder("rules")])


def made(engine: Engine, wanted: Wanted = WANTED) -> Digest:
    """The digest of the day, as an hour later."""
    return gather(engine, Settings(), _rules(), wanted, END + timedelta(hours=1))


@pytest.fixture
def day(sqlite_engine: Engine) -> Digest:
    """That of the day in `digest_past`."""
    fill(sqlite_engine)
    return made(sqlite_engine)


def test_both_databases_say_the_same(day: Digest, postgres_engine: Engine) -> None:
    """All of it, but for how large they are."""
    fill(postgres_engine)
    other = made(postgres_engine)
    assert replace(other, database=day.database) == day
    assert other.database.used_bytes > 0


def test_every_figure_is_that_of_the_period(day: Digest) -> None:
    """Alerts, rules, the promise, destinations, silences, capture and notifications are counted within [start, end)."""
    alerts = day.alerts
    assert (alerts.total, alerts.by_severity) == (7, {"high": 1, "medium": 1, "low": 5})
    assert (alerts.open, alerts.acknowledged, alerts.benign, alerts.true, alerts.unanswered) == (1, 1, 1, 0, 1)
    assert [each.alert_id for each in alerts.worst] == [3, 9, 7, 6, 5, 4, 2]
    assert [each.verdict for each in alerts.worst] == [None, None, None, None, "benign", None, None]
    assert alerts.worst[0].commands == ("detector alerts show 3", "detector model feedback add 3 true  # or benign")
    assert alerts.worst[1].commands == ("detector alerts show 9",)
    assert len(alerts.bars) == 24
    assert {number: bar.counts for number, bar in enumerate(alerts.bars) if bar.counts} == {
        0: {"low": 1},
        3: {"high": 1, "low": 1},
        4: {"low": 1},
        12: {"medium": 1},
        20: {"low": 1},
        21: {"low": 1},
    }
    assert [(each.host, each.told, each.kept) for each in day.promises.worst] == [
        ("bastion-2", 1, True),
        ("bastion-1", 0, True),
    ]
    assert (day.promises.told, day.promises.broken, round(day.promises.promised, 3)) == (1, 0, 0.286)
    assert [(each.channel, each.delivered, each.failed, each.waiting) for each in day.delivery] == [
        ("mail", 1, 0, 0),
        ("slack", 0, 1, 1),
    ]
    assert day.database.used_bytes > 0


def test_what_became_normal_is_told_from_what_alerted(day: Digest) -> None:
    """Of what is new: met again an hour later; met once; behind an alert."""
    found = day.destinations
    assert (found.new, found.alerted, found.once, found.normal) == (13, 10, 1, 2)
    assert [(each.remote_address, each.remote_port, each.remote_name) for each in found.listed] == [
        ("10.0.4.12", 8443, None),
        ("10.9.9.9", 443, "packages.example.org"),
    ]
    assert found.listed[1].who == ("alice with /usr/bin/curl",)
    assert found.listed[1].first_seen == START + timedelta(hours=2)


def test_capture_is_as_complete_as_it_was(day: Digest) -> None:
    """What was lost, how long nobody watched, and who was silent; a collector that ended in order was not."""
    second, first = day.capture.worst
    assert (first.host, first.incomplete, first.lost_events, first.share) == ("bastion-1", 1, 7, 1.0)
    assert (second.host, second.incomplete, second.snapshots) == ("bastion-2", 1, 44)
    assert second.watched_seconds == timedelta(hours=22).total_seconds()
    assert (day.capture.hosts, day.capture.incomplete, day.capture.behind) == (2, 2, 0)
    assert (first.waited, second.waited, day.capture.waited) == (1, 0, 1)
    (silence,) = day.silences
    assert (silence.host, silence.since, silence.until) == (
        "bastion-2",
        START + timedelta(hours=10),
        START + timedelta(hours=12),
    )


def test_rules_come_with_what_to_do_about_them(day: Digest) -> None:
    """The noisy one has an alert that was called benign, and the command is for that one."""
    noisy, other = day.rules.noisiest
    assert (noisy.rule, noisy.severity, noisy.alerts, noisy.benign) == (
        "Port scan of one destination",
        Severity.HIGH,
        6,
        1,
    )
    assert noisy.command == "detector rules tune --from-alert 5"
    assert (other.alerts, other.command) == (1, "")
    assert day.rules.fired == 2
    assert len(day.rules.quietest) == 5
    assert all(each.command.startswith("detector rules test ") for each in day.rules.quietest)
    assert not any("apture" in each.rule for each in day.rules.quietest)


def test_it_is_stored_as_it_is(day: Digest) -> None:
    """What is sent later, and after a restart, is what was counted."""
    assert from_stored(to_stored(day)) == day


def test_an_open_alert_that_nobody_answered_is_to_be_taken_on(sqlite_engine: Engine) -> None:
    """It comes with the command for that; one of little severity need not be answered."""
    fill(sqlite_engine)
    times = {"opened_at": START, "start": START, "end": START + timedelta(hours=1)}
    insert_alert(sqlite_engine, alert_id=20, severity="critical", state="open", **times)
    alerts = made(sqlite_engine).alerts
    assert alerts.unanswered == 2
    assert alerts.worst[0].commands == ("detector alerts show 20", "detector alerts ack 20")
    assert alerts.worst[-1].commands == ("detector alerts show 2",)


def test_periods_that_meet_count_each_alert_once(sqlite_engine: Engine) -> None:
    """The digest before has what was opened before, the one after what was opened at the end."""
    fill(sqlite_engine)
    day = timedelta(days=1)
    before = made(sqlite_engine, replace(WANTED, start=START - day, end=START))
    after = made(sqlite_engine, replace(WANTED, start=END, end=END + day))
    whole = made(sqlite_engine, replace(WANTED, start=START - day, end=END + day))
    counts = [each.alerts.total for each in (before, made(sqlite_engine), after)]
    assert counts == [1, 7, 1]
    assert whole.alerts.total == sum(counts)
    assert [bar.start - START for bar in whole.alerts.bars] == [-day, timedelta(0), day]
    assert [sum(bar.counts.values()) for bar in whole.alerts.bars] == counts


def test_what_came_to_light_late_is_told(sqlite_engine: Engine) -> None:
    """A snapshot that waited for the database brings an alert of the time before: it is in the next digest."""
    fill(sqlite_engine)
    first = made(sqlite_engine)
    insert_alert(sqlite_engine, alert_id=20, opened_at=END - timedelta(hours=1), rule_id=SCAN)
    second = replace(WANTED, start=END, end=END + timedelta(days=1), last_alert=first.last_alert)
    assert made(sqlite_engine, second).alerts.late == 1


def test_an_empty_database_has_a_digest(engine: Engine) -> None:
    """Nothing was captured, and nothing is divided by it."""
    empty = made(engine)
    assert empty.quiet
    assert (empty.alerts.total, empty.capture.hosts, empty.capture.share) == (0, 0, 1.0)
    with writing(engine) as connection:
        connection.execute(hosts.insert().values(host="new", created_at=START))
    assert made(engine).quiet


def test_a_day_of_which_something_is_missing_is_not_quiet(day: Digest) -> None:
    """No alert is no reason to say nothing when capture was incomplete."""
    no_alerts = replace(day.alerts, total=0)
    assert not day.quiet
    assert not replace(day, alerts=no_alerts, silences=(), delivery=()).quiet
    whole = replace(day.capture, incomplete=0)
    assert replace(day, alerts=no_alerts, silences=(), delivery=(), capture=whole).quiet
