"""Digests for the tests of what is made of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from detector import digest as told
from detector.domain import Severity
from detector.visible import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

START = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
DAY = timedelta(days=1)


def digest(name: str = "bastion-1", *, length: timedelta = DAY, many: int = 1) -> told.Digest:
    """A digest in which every list has `many` of something, every text from outside being `name`."""
    shown = visible(name, 80)
    unit = timedelta(hours=1) if length <= 2 * DAY else DAY
    bars = [{"low": number % 3} if number % 5 else {} for number in range(-(-length // unit))]
    bars[0] = {"critical": 2, "low": 7}
    alert = told.ListedAlert(
        alert_id=12,
        severity=Severity.CRITICAL,
        host=shown,
        rule=shown,
        summary=visible(f"{name}, via {name}, tried 300 ports on 10.0.4.12", 240),
        opened_at=START,
        state="open",
        verdict=None,
        commands=("detector alerts show 12", "detector alerts ack 12"),
    )
    return told.Digest(
        kind=told.Kind.DAILY,
        start=START,
        end=START + length,
        time_zone="Europe/Berlin",
        made_at=START + length,
        late=False,
        missed=0,
        last_alert=40,
        alerts=told.Alerts(
            total=sum(sum(bar.values()) for bar in bars),
            by_severity={"critical": 2, "low": sum(bar.get("low", 0) for bar in bars)},
            open=1,
            acknowledged=1,
            silenced=1,
            benign=2,
            true=1,
            unanswered=1,
            late=0,
            bars=tuple(told.Bar(start=START + number * unit, counts=bar) for number, bar in enumerate(bars)),
            worst=tuple(replace(alert, alert_id=number + 12) for number in range(many)),
            worst_more=3,
        ),
        rules=told.Rules(
            in_force=58,
            fired=3,
            quiet=49,
            looked_back=timedelta(days=30),
            refused=0,
            noisiest=(_noisy(shown),) * many,
            quietest=(_quiet(shown),) * many,
        ),
        promises=told.Promises(hosts=many, told=1, promised=0.143 * many, broken=0, worst=_promises(shown, many)),
        destinations=told.Destinations(
            new=14, alerted=2, once=7, normal=5, listed=(_destination(name),) * min(many, 5)
        ),
        silences=(told.HostSilence(host=shown, since=START, until=START + timedelta(minutes=125)),) * many,
        silences_more=0,
        capture=_capture(shown, many),
        delivery=(told.Delivered(channel="mail", delivered=1204, failed=1, waiting=2),),
        database=told.Database(used_bytes=812_000_000, bytes_per_day=12_300_000, most_bytes=4_000_000_000),
    )


def _noisy(name: str) -> told.NoisyRule:
    return told.NoisyRule(
        rule=name,
        severity=Severity.LOW,
        alerts=12,
        findings=40,
        benign=8,
        true=0,
        why="8 of 12 were called benign: have it pass over what these are about",
        command="detector rules tune --from-alert 31",
    )


def _quiet(name: str) -> told.QuietRule:
    return told.QuietRule(
        rule=name,
        severity=Severity.HIGH,
        last=None,
        waits_for="",
        command="detector rules test reverse_tunnel --since 30d",
        switches_off="detector rules disable reverse_tunnel --reason 'never here'",
    )


def _promises(name: str, many: int) -> tuple[told.Promise, ...]:
    each = told.Promise(host=name, promised=0.143, told=1, achieved=0.07, days=14.0, kept=True)
    return (replace(each, achieved=0.29, kept=False), *((each,) * (many - 1)))


def _destination(name: str) -> told.NewDestination:
    return told.NewDestination(
        host=visible(name, 80),
        remote_address="2001:db8::7",
        remote_port=443,
        remote_name=visible(name, 80),
        who=(f"{visible(name, 80)} with {visible(name, 80)}",),
        first_seen=START,
        last_seen=START + timedelta(hours=3),
    )


def _capture(name: str, many: int) -> told.Captures:
    each = told.Capture(
        host=name,
        snapshots=8640,
        incomplete=12,
        watched_seconds=86_000.0,
        period_seconds=86_400.0,
        lost_events=7,
        lost_snapshots=1,
        blind=2,
        waited=3,
        given_up=0,
        behind=False,
    )
    return told.Captures(
        hosts=many,
        incomplete=many,
        share=0.9953,
        lost_events=7 * many,
        lost_snapshots=many,
        waited=3 * many,
        given_up=0,
        behind=0,
        worst=(each,) * many,
    )


def quiet() -> told.Digest:
    """Of a day on which there was nothing."""
    busy = digest()
    none: Sequence[told.Bar] = [replace(bar, counts={}) for bar in busy.alerts.bars]
    numbers = dict.fromkeys(("total", "open", "acknowledged", "silenced", "benign", "true", "unanswered"), 0)
    return replace(
        busy,
        alerts=replace(busy.alerts, **numbers, by_severity={}, bars=tuple(none), worst=(), worst_more=0),
        rules=replace(busy.rules, fired=0, noisiest=()),
        promises=replace(busy.promises, told=0),
        destinations=told.Destinations(new=0, alerted=0, once=0, normal=0, listed=()),
        silences=(),
        capture=replace(busy.capture, incomplete=0, share=1.0, lost_events=0, lost_snapshots=0, worst=()),
        delivery=(),
    )
