"""Several alerts in one message: each on a line, with the number by which it is found."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from detector.notify.message import Message, document
from detector.visible import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detector.domain import Alert, Notification

# With the lines around them they keep the text within the 3,000 characters that a service with room for a text allows.
_LIST_LIMIT = 2600
_LINE_LIMIT = 120
_TITLE_LIMIT = 150
_NAME_LIMIT = 40


def fitting(claimed: Sequence[tuple[Notification, Alert]]) -> int:
    """How many of the first of them one message has room for; at least one."""
    room = _LIST_LIMIT
    for number, (notification, alert) in enumerate(claimed):
        room -= len(_line(notification, alert)) + 1
        if room < 0:
            return max(number, 1)
    return len(claimed)


def render_together(claimed: Sequence[tuple[Notification, Alert]]) -> Message:
    """The message that tells of all of `claimed` (see `fitting`), in their order."""
    severity = max((alert.severity for _, alert in claimed), key=lambda each: each.rank)
    hosts = list(dict.fromkeys(alert.host for _, alert in claimed))
    where = visible(hosts[0], _NAME_LIMIT) if len(hosts) == 1 else f"{len(hosts)} hosts"
    lines = [_line(notification, alert) for notification, alert in claimed]
    opening = f"{len(lines)} messages in one, since more came than this channel takes:"
    closing = "Each of them: detector alerts show NUMBER"
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    body = f"<p>{escape(opening)}</p>\n<ul>{items}</ul>\n<p>{escape(closing)}</p>"
    return Message(
        title=visible(f"[{severity}] {where}: {len(lines)} alerts", _TITLE_LIMIT),
        text="\n".join([opening, *(f"- {line}" for line in lines), closing]),
        html=document(severity, body),
        severity=severity,
    )


def _line(notification: Notification, alert: Alert) -> str:
    # The number and the severity come first: they are not what is cut.
    told = f"alert {alert.alert_id} [{alert.severity}] {alert.host}: {alert.rule_title} ({notification.reason})"
    return visible(told, _LINE_LIMIT)
