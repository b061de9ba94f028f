"""An alert as a message: plain text, HTML, and a block for the terminal."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from html import escape
from typing import TYPE_CHECKING

from detector.answers import answers
from detector.domain import Severity
from detector.visible import visible

if TYPE_CHECKING:
    from datetime import datetime

    from detector.domain import Alert

# Together they keep a message within 3,000 characters, the least that a service with room for a text allows (a section
# of Slack), and its title within the 150 of Slack's headers.
_TITLE_LIMIT = 150
_SUMMARY_LIMIT = 800
_EXPLANATION_LIMIT = 200
_LINE_LIMIT = 240
_NAME_LIMIT = 80
_OPENED = "opened"
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_TIME = "%Y-%m-%d %H:%M:%S"
# Legible on white and on black: mail is read on both.
COLOURS = {
    Severity.INFORMATIONAL: "#7a869a",
    Severity.LOW: "#2f80c2",
    Severity.MEDIUM: "#c58a00",
    Severity.HIGH: "#e0641c",
    Severity.CRITICAL: "#d62839",
}
"""Of severities, in whatever is shown in colours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is sent. All text is printable; what else a channel needs escaped is escaped on the way out."""

    title: str
    """One line: a subject."""
    text: str
    html: str
    severity: Severity

    @property
    def block(self) -> str:
        """Title and text as a block for the terminal, indented under a line that is found at a glance."""
        indented = "\n".join(f"  {line}".rstrip() for line in self.text.splitlines())
        return f"== {self.title} ==\n{indented}\n"


def render(alert: Alert, reason: str) -> Message:
    """The message that tells of `alert`.

    Args:
        reason: why it is sent ("opened", "grown tenfold" …), as stored with the notification.
    """
    told_again = "" if reason == _OPENED else f" ({visible(reason, _NAME_LIMIT)})"
    host, title = visible(alert.host, _NAME_LIMIT), visible(alert.rule_title, _NAME_LIMIT)
    return Message(
        title=visible(f"[{alert.severity}] {host}: {title}{told_again}", _TITLE_LIMIT),
        text=_text(alert, reason),
        html=_html(alert, reason),
        severity=alert.severity,
    )


def trial(channel: str, host: str) -> Message:
    """A message that says nothing but that `channel` works."""
    shown = visible(host, _NAME_LIMIT)
    sentence = (
        f"This is a test: alerts of {shown} will arrive here, through the channel {visible(channel, _NAME_LIMIT)}."
    )
    return Message(
        title=f"[test] {shown}: detector can reach this channel",
        text=sentence,
        html=document(Severity.INFORMATIONAL, f"<p>{escape(sentence)}</p>"),
        severity=Severity.INFORMATIONAL,
    )


def _text(alert: Alert, reason: str) -> str:
    parts = [visible(alert.summary, _SUMMARY_LIMIT), *(f"{label}: {value}" for label, value in _facts(alert, reason))]
    if _several(alert):
        parts += ["What is unusual:", *(f"- {visible(each, _EXPLANATION_LIMIT)}" for each in alert.explanations)]
    parts += ["What you can do:", *(f"  {command}" for command in _commands(alert))]
    return "\n".join(parts)


def _html(alert: Alert, reason: str) -> str:
    facts = "<br>".join(f"<b>{escape(label)}:</b> {escape(value)}" for label, value in _facts(alert, reason))
    parts = [
        f'<p style="font-size:1.15em"><b>{escape(visible(alert.summary, _SUMMARY_LIMIT))}</b></p>',
        f"<p>{facts}</p>",
    ]
    if _several(alert):
        sentences = "".join(f"<li>{escape(visible(each, _EXPLANATION_LIMIT))}</li>" for each in alert.explanations)
        parts.append(f"<p>What is unusual:</p>\n<ul>{sentences}</ul>")
    commands = "\n".join(escape(command) for command in _commands(alert))
    parts.append(f'<p>What you can do:</p>\n<pre style="white-space:pre-wrap">{commands}</pre>')
    return document(alert.severity, "\n".join(parts))


def document(severity: Severity, body: str) -> str:
    """HTML around a body that is escaped already, marked with the colour of a severity."""
    # No colours but the bar: the reader's own, light or dark, stay.
    style = (
        f"border-left:6px solid {COLOURS[severity]};padding:2px 14px;max-width:44em;"
        "font-family:sans-serif;line-height:1.45;overflow-wrap:anywhere"
    )
    return f'<div style="{style}">\n{body}\n</div>'


def _facts(alert: Alert, reason: str) -> list[tuple[str, str]]:
    facts = [
        ("Rule", f"{visible(alert.rule_title, _NAME_LIMIT)} ({visible(alert.rule_id, _NAME_LIMIT)})"),
        ("Severity", alert.severity.value),
        ("Host", visible(alert.host, _NAME_LIMIT)),
        ("When", _period(alert.start, alert.end)),
    ]
    if _has_rows(alert):
        spread = f"{_count(alert.destinations, 'address', 'addresses')}, {_count(alert.ports, 'port', 'ports')}"
        facts += [("Counts", _counts(alert)), ("Spread", spread)]
    if alert.score is not None:
        facts.append(("Anomaly score", f"{alert.score:.4f} of 1"))
    # Rows may have in common that something is unknown, which tells a reader nothing.
    common = ", ".join(f"{_name(key)} {_name(value)}" for key, value in alert.group.items() if value is not None)
    if common:
        facts.append(("In common", visible(common, _LINE_LIMIT)))
    facts.append(("Sent because", visible(reason, _NAME_LIMIT)))
    return facts


def _has_rows(alert: Alert) -> bool:
    """Whether the alert is about connections: one about capture has none."""
    return any((alert.attempted, alert.established, alert.refused, alert.timed_out, alert.failed))


def _counts(alert: Alert) -> str:
    outcomes = (
        (alert.established, "established"),
        (alert.refused, "refused"),
        (alert.timed_out, "timed out"),
        (alert.failed, "failed"),
    )
    told = [f"{alert.attempted:,} attempted"] if alert.attempted else []
    return ", ".join(told + [f"{count:,} {name}" for count, name in outcomes if count])


def _period(start: datetime, end: datetime) -> str:
    until = end.strftime(_TIME if start.date() != end.date() else "%H:%M:%S")
    return f"{start.strftime(_TIME)} to {until} UTC"


def _several(alert: Alert) -> bool:
    # A single one stands in the summary.
    return len(alert.explanations) > 1


def _commands(alert: Alert) -> list[str]:
    # Names from outside could be commands of their own once they are pasted into a shell.
    host = f" --host {alert.host}" if _PLAIN.fullmatch(alert.host) else ""
    # Whole seconds around it: a person reads this, and may type it.
    since = alert.start.replace(microsecond=0)
    until = (alert.end + timedelta(microseconds=999_999)).replace(microsecond=0)
    period = f"--since '{since.isoformat(sep=' ')}' --until '{until.isoformat(sep=' ')}'"
    about_capture = not _has_rows(alert)
    said = [each.command for each in answers(alert, about_capture=about_capture)]
    if about_capture:
        return [said[0], f"detector query --incomplete{host} {period}", "detector doctor", *said[1:]]
    rule = [f"detector rules show {alert.rule_id}"] if _PLAIN.fullmatch(alert.rule_id) else []
    return [said[0], f"detector query{host} {period}", *rule, *said[1:]]


def _count(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


def _name(value: object) -> str:
    return visible(str(value), _NAME_LIMIT)
