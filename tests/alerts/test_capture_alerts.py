"""Alerts about capture: no rows behind them, and a first line that says what the snapshots say."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from detector import shipped
from detector.alerts.book import AlertBook, ChannelPolicy
from detector.domain import CaptureHealth, Losses, Severity
from detector.notify.briefing import Briefing
from detector.notify.message import render
from detector.ruleset.load import load_rules
from detector.store.alerts import alert_rows, list_alerts, notifications_of
from detector.store.engine import reading, writing
from tests.builders import START, Recorder, count

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from detector.domain import Alert, ConnectionCount

_RULES = load_rules([shipped.folder("rules")]).ruleset
_PASSED = CaptureHealth(self_test_passed=True)
_MAIL = ChannelPolicy(name="mail", min_severity=Severity.INFORMATIONAL)


@dataclass
class Host:
    """A host under the shipped rules."""

    engine: Engine
    recorder: Recorder = field(init=False)

    def __post_init__(self) -> None:
        self.recorder = Recorder(self.engine)

    def takes(self, *counts: ConnectionCount, losses: Losses | None = None, **health: Any) -> None:
        """A snapshot, with all that follows from it; the self-test passes unless it is said otherwise."""
        passed = CaptureHealth(**{"self_test_passed": True, **health})
        ref = self.recorder.snapshot(*counts, losses=losses, health=passed)
        with writing(self.engine) as connection:
            found = _RULES.evaluate(connection, ref)
            AlertBook((_MAIL,), timedelta(minutes=10)).record(connection, ref, found)

    def alerts(self) -> list[Alert]:
        """All alerts, the newest first."""
        with reading(self.engine) as connection:
            return list_alerts(connection)

    def alert(self) -> Alert:
        """The only alert."""
        (alert,) = self.alerts()
        return alert

    def sent(self, alert: Alert) -> list[str]:
        """Why it was sent, each time."""
        with reading(self.engine) as connection:
            return [each.reason for each in notifications_of(connection, alert.alert_id)]


def test_blindness_is_one_alert_told_ever_more_seldom(engine: Engine) -> None:
    """It says since when; as long as it lasts it is told again when it is ten and a hundred minutes old."""
    host = Host(engine)
    host.takes(count())
    since = host.recorder.now
    host.takes(self_test_passed=False, blind_since=since)
    alert = host.alert()
    assert alert.summary == ("Capture on bastion-1 is blind since 09:00:10 UTC (10 s): connects are not counted.")
    assert (alert.rule_title, alert.severity) == ("Capture is blind", Severity.CRITICAL)
    assert (alert.attempted, alert.destinations, alert.ports, alert.score) == (0, 0, 0, None)
    assert alert.group == {"host": "bastion-1"}
    host.recorder.interval = timedelta(minutes=5)
    for _ in range(21):
        host.takes(self_test_passed=False, blind_since=since)
    alert = host.alert()
    assert alert.summary.endswith("since 09:00:10 UTC (1 h 45 min): connects are not counted.")
    assert alert.finding_count == 22
    assert host.sent(alert) == ["opened", "grown tenfold", "grown tenfold"]


def test_losses_add_up_and_say_what_they_are(engine: Engine) -> None:
    """Each snapshot adds to the alert; ten times as many lost are told again."""
    host = Host(engine)
    host.takes(count(), losses=Losses(attempted=312))
    assert host.alert().summary == "Capture on bastion-1 lost 312 events in 10 s (312 attempts without room)."
    host.takes(losses=Losses(attempted=1, missed=1))
    alert = host.alert()
    assert alert.summary == (
        "Capture on bastion-1 lost 314 events in 20 s (313 attempts without room, "
        "1 event that the kernel did not show)."
    )
    assert host.sent(alert) == ["opened"]
    host.takes(losses=Losses(attempted=5000))
    assert host.sent(host.alert()) == ["opened", "grown tenfold"]


def test_who_had_too_many_destinations(engine: Engine) -> None:
    """What was counted by program alone is said with the programs that this befell, and with no others."""
    host = Host(engine)
    daemon: Any = {"protocol": "packet", "executable": "/usr/sbin/dhclient", "login_user": None}
    masscan: Any = {"executable": "/usr/bin/masscan", "user": "root", "attempted": 180_000}
    host.takes(count(None, None, **masscan), count(None, None, **daemon), count(), losses=Losses(folded=180_000))
    assert host.alert().summary == (
        "bastion-1: 180,000 events of /usr/bin/masscan counted without address and port: there were too many at once."
    )
    other = count(None, None, executable="/usr/bin/zmap", protocol="udp", attempted=5)
    host.takes(other, count(None, None, **masscan), losses=Losses(folded=20_000))
    assert "200,000 events of 2 programs counted without" in host.alert().summary


def test_a_gap_says_from_when_to_when(engine: Engine) -> None:
    """Nobody watched: for how long, and between which moments; several gaps are added up."""
    host = Host(engine)
    host.takes(count())
    host.recorder.pass_time(seconds=200)
    host.takes(count())
    alert = host.alert()
    assert alert.summary == "No snapshots of bastion-1 for 3 min 20 s (09:00:10 to 09:03:30 UTC)."
    assert alert.severity == Severity.MEDIUM
    host.recorder.pass_time(minutes=5)
    host.takes(count())
    assert host.alert().summary == "No snapshots of bastion-1 for 8 min 20 s in 2 gaps."


def test_a_gap_over_midnight_names_the_day(engine: Engine) -> None:
    """Moments of another day than the snapshot's carry their date."""
    host = Host(engine)
    host.takes(count())
    host.recorder.pass_time(hours=20)
    host.takes(count())
    assert host.alert().summary == ("No snapshots of bastion-1 for 20 h (2026-03-02 09:00:10 to 05:00:10 UTC).")


@pytest.mark.parametrize(("step", "told"), [(300.0, "forward 5 min"), (-300.0, "back 5 min")])
def test_a_clock_that_was_set_is_no_gap(engine: Engine, step: float, told: str) -> None:
    """It says which way and how far; the time that never was is not missed."""
    host = Host(engine)
    host.takes(count())
    host.recorder.pass_time(seconds=step)
    host.takes(count(), clock_step_seconds=step)
    assert host.alert().summary == f"bastion-1's clock was set {told}."


def test_a_late_snapshot_is_only_late(engine: Engine) -> None:
    """Nothing is missing from it."""
    host = Host(engine)
    host.takes(count(), late_seconds=42.0)
    alert = host.alert()
    assert alert.summary == "Counts of bastion-1 were read 42 s late."
    assert alert.severity == Severity.LOW


def test_all_that_is_wrong_is_said(engine: Engine) -> None:
    """A snapshot with several faults gives an alert for each rule, and each says all of them."""
    host = Host(engine)
    host.takes(count())
    host.recorder.pass_time(minutes=5)
    host.takes(losses=Losses(missed=2, names=1), suspended_seconds=3600.0, late_seconds=31.0)
    said = (
        "Capture on bastion-1 lost 2 events in 10 s (2 events that the kernel did not show). "
        "No snapshots of bastion-1 for 5 min (09:00:10 to 09:05:10 UTC). Counts of bastion-1 were read 31 s late. "
        "bastion-1 slept for 1 h. 1 DNS answer on bastion-1 could not be read."
    )
    assert {alert.summary for alert in host.alerts()} == {said}
    assert sorted(alert.severity.value for alert in host.alerts()) == ["high", "low", "medium"]


def test_no_rows_stand_behind_it(engine: Engine) -> None:
    """What was counted in the snapshot is no part of the alert, nor of its message."""
    host = Host(engine)
    host.takes(count(), losses=Losses(missed=1))
    alert = host.alert()
    with reading(engine) as connection:
        assert list(alert_rows(connection, alert.alert_id, 10)) == []
    text = render(Briefing(alert=alert), "opened").text
    assert "Counts:" not in text
    assert "Spread:" not in text
    assert "  detector doctor" in text.splitlines()
    assert f"When: {START:%Y-%m-%d %H:%M:%S} to 09:00:10 UTC" in text


def test_recording_again_changes_nothing(engine: Engine) -> None:
    """The same findings of the same snapshot, given again, leave the alert as it is."""
    host = Host(engine)
    ref = host.recorder.snapshot(losses=Losses(missed=7), health=_PASSED)
    for _ in range(2):
        with writing(engine) as connection:
            AlertBook((_MAIL,), timedelta(minutes=10)).record(connection, ref, _RULES.evaluate(connection, ref))
    alert = host.alert()
    assert (alert.finding_count, host.sent(alert)) == (1, ["opened"])
    assert "lost 7 events" in alert.summary
