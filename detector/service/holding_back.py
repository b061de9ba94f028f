"""Tells, once a day is over, what was held back in it: one message for each host, the strangest first."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import TYPE_CHECKING

from detector.row_words import connection_text, program_text, who_text
from detector.store import notices
from detector.store.engine import reading, writing
from detector.store.held_back import NOTICE, held_alerts, held_back, told_to

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Engine

    from detector.domain import Alert
    from detector.store.held_back import HeldBack

# Detection that is behind may still add to a day.
_PATIENCE = timedelta(minutes=15)
# Of an older day nobody wants to be told: what was imported, or a service that was off.
_LATE = timedelta(days=3)
_NAMED = 20


def tell_held_back(engine: Engine, now: datetime) -> int:
    """Writes a notice of each host and day that is over and had more than may be told, to the channels that were told
    of it when it began; each is told once, whoever calls this how often.

    Returns:
        How many were written.

    Raises:
        StoreError: the database is away.
    """
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if now - midnight < _PATIENCE:
        return 0
    with reading(engine) as connection:
        due = held_alerts(connection, since=now - _LATE, untold_before=midnight)
        found = {alert.alert_id: (told_to(connection, alert.alert_id), held_back(connection, [alert])) for alert in due}
    written = 0
    for alert in due:
        channels, held = found[alert.alert_id]
        with writing(engine) as connection:
            said = notices.tell(
                connection,
                kind=NOTICE,
                subject=str(alert.alert_id),
                content=_content(alert, held),
                channels=channels,
                now=now,
                severity=alert.severity,
            )
        written += said is not None
    return written


def _content(alert: Alert, held: Sequence[HeldBack]) -> dict[str, object]:
    title = f"{alert.host}: {alert.rule_title}, {len(held):,} connection{'' if len(held) == 1 else 's'}"
    lines = [f"{number}. {_line(each)}" for number, each in enumerate(held[:_NAMED], start=1)]
    if len(held) > _NAMED:
        lines.append(f"and {len(held) - _NAMED:,} more, which are less strange")
    lines.append(f"all of it: detector alerts list --held --host {alert.host}; detector alerts show {alert.alert_id}")
    return {"title": title, "lines": lines}


def _line(each: HeldBack) -> str:
    row = each.row
    surprise = "" if row["surprise"] is None else f"surprise {row['surprise']:.1f}: "
    often = f"{each.connects:,} in {each.snapshots:,} snapshot{'' if each.snapshots == 1 else 's'}"
    what = f"{surprise}{who_text(row)}, {program_text(row)}, {connection_text(row)}, {often}"
    return what if row["explanation"] is None else f"{what}; {row['explanation']}"
