"""An alert as an example: what templates are tried with, and what `detector notify preview` shows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from detector.domain import Alert, Severity
from detector.notify.briefing import Briefing, Row
from detector.notify.charts import Chart

_START = datetime(2026, 3, 2, 3, 12, 40, tzinfo=UTC)
_HOURS = 48
_SCAN = 1_024


def example() -> Briefing:
    """A scan at night."""
    alert = Alert(
        alert_id=4711,
        host="bastion-1",
        rule_id="7a9de89a-7f25-4bd3-9e13-2a7f6a1c1111",
        rule_title="Vertical port scan",
        severity=Severity.HIGH,
        fingerprint="0" * 32,
        group={"login_user": "alice", "remote_address": "10.0.4.12"},
        opened_at=_START + timedelta(seconds=20),
        start=_START,
        end=_START + timedelta(seconds=40),
        finding_count=4,
        attempted=_SCAN,
        established=2,
        refused=1_020,
        timed_out=2,
        failed=0,
        destinations=1,
        ports=_SCAN,
        score=0.9987,
        summary=(
            "alice (ssh from 203.0.113.7), via /usr/bin/nc.openbsd, tried 1,024 ports on 10.0.4.12 (db.example) in "
            "40 s, 1,020 refused, 2 timed out, 2 established. "
            "1,024 ports in a snapshot; at most 3 in the 28 days before."
        ),
        explanations=(
            "1,024 ports in a snapshot; at most 3 in the 28 days before",
            "alice was never at 10.0.4.12 before",
        ),
    )
    ports = (22, 5432, 21, 23, 25, 53, 80, 110)
    return Briefing(
        alert=alert,
        normal=(
            "In the 28 days before, alice on bastion-1 made connects in 212 of 672 hours: 6 as a rule, at most 31.",
            "At this time of day (03:00 to 04:00 UTC) 0 are usual.",
            "None of the first 200 was ever seen before.",
        ),
        model=(
            "Score 0.9987: an hour without an attack holds something as strange once in 769 hours.",
            "What decided it: port sweep; strange as well: novelty, failures.",
        ),
        rule=(
            "Somebody tries many ports of one address.",
            "What to do: ask alice whether it was her, and see what the port that answered has to offer.",
            "Known to be harmless: inventory tools that look for services",
            "It made 2 other alerts on this host in 30 days, of which people called 1 false: 0.033 false ones a day.",
        ),
        rows=tuple(
            Row(
                when=f"{alert.end:%Y-%m-%d %H:%M:%S}",
                who="alice from 203.0.113.7",
                program="/usr/bin/nc.openbsd",
                connection=f"-> 10.0.4.12:{port} (db.example)",
                connects="1 established" if port in ports[:2] else "1 refused",
            )
            for port in ports
        ),
        more_rows=1_016,
        chart=_chart(alert),
    )


def _chart(alert: Alert) -> Chart:
    end = alert.end.replace(minute=0, second=0)
    starts = tuple(end - timedelta(hours=number) for number in range(_HOURS - 1, -1, -1))
    working = [8 <= start.hour < 17 for start in starts]  # noqa: PLR2004 - office hours
    usual = [float((number * 7) % 5 + 4) if works else 0.0 for number, works in enumerate(working)]
    return Chart(
        title="connects of alice on bastion-1, per hour",
        starts=starts,
        span_seconds=3600.0,
        values=(*usual[:-1], float(alert.attempted)),
        low=tuple(2.0 if works else 0.0 for works in working),
        high=tuple(12.0 if works else 1.0 for works in working),
        band="9 of 10 of the same hours in 28 days",
        marked=(alert.start, alert.end),
        mark=f"alert {alert.alert_id}",
    )
