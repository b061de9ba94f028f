"""An alert as a message: plain text, Markdown, HTML, and a block for the terminal."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import timedelta
from html import escape
from itertools import groupby
from typing import TYPE_CHECKING, Any

from detector.alert_words import also_seen_text
from detector.answers import Answer, answers
from detector.domain import Severity
from detector.notify import templates as files
from detector.notify.briefing import ADVICE
from detector.notify.kinds import Form
from detector.notify.markdown import escaped_lines
from detector.visible import visible

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from detector.domain import Alert
    from detector.notify.briefing import Briefing
    from detector.notify.templates import Templates

_TITLE_LIMIT = 150
_SUMMARY_LIMIT = 800
_SENTENCE_LIMIT = 300
# Descriptions of rules, which end with what to do, and which no attacker writes.
_RULE_LIMIT = 1000
_LINE_LIMIT = 240
_NAME_LIMIT = 80
_WORD_LIMIT = 60
_OPENED = "opened"
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_TIME = "%Y-%m-%d %H:%M:%S"
CHART_NAME = "chart.png"
"""The name of the picture in a message."""
_PICTURE = re.compile(rf'<img [^<>]*"cid:{re.escape(CHART_NAME)}"[^<>]*>')
# Legible on white and on black: mail is read on both.
COLOURS = {
    Severity.INFORMATIONAL: "#7a869a",
    Severity.LOW: "#2f80c2",
    Severity.MEDIUM: "#c58a00",
    Severity.HIGH: "#e0641c",
    Severity.CRITICAL: "#d62839",
}
"""Of severities, in whatever is shown in colours."""
# What channels with less room are sent: ever fewer of the rows, then of all else but the first line and the commands.
_ROWS_SHOWN = (8, 3, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """The same in several forms."""

    text: str
    markdown: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is sent. All text is printable, and escaped for its form."""

    title: str
    """One line: a subject."""
    text: str
    html: str
    severity: Severity
    shorter: tuple[Body, ...] = ()
    """The same with ever less in it, for channels with little room; the first has all. Empty: it is as it is."""
    chart: bytes | None = None
    """A picture (PNG), which the HTML has a place for, under `CHART_NAME`."""
    chart_fault: str | None = None
    """Why there is none, where one belongs."""
    plain: str = ""
    """What a mail has beside its HTML; empty: the text."""
    template_fault: files.OwnTemplateError | None = None
    """Why it is in the words that ship, where the operator has words of his own."""

    @property
    def block(self) -> str:
        """Title and text as a block for the terminal, indented under a line that is found at a glance."""
        # What stands apart in a mail would fall apart between the blocks of others.
        indented = "\n".join(f"  {line}".rstrip() for line in self.text.splitlines() if line.strip())
        return f"== {self.title} ==\n{indented}\n"

    def fitting(self, form: Form, limit: int) -> str:
        """As text or Markdown of at most `limit` characters: as much as has room, whole, and else cut."""
        bodies = self.shorter or (Body(text=self.text, markdown=escaped_lines(self.text)),)
        written = [body.markdown if form is Form.MARKDOWN else body.text for body in bodies]
        whole = next((each for each in written if len(each) <= limit), None)
        if whole is not None:
            return whole
        # Cut behind the mark of an escape, the rest would be markup.
        return written[-1][: max(limit - 1, 0)].rstrip("\\") + "…"


def render(briefing: Briefing, reason: str, templates: Templates | None = None, chart: bytes | None = None) -> Message:
    """The message that tells of an alert.

    Args:
        briefing: what is known of it.
        reason: why it is sent ("opened", "grown tenfold" …), as stored with the notification.
        templates: those in force; None: those that ship.
        chart: the picture of the briefing's chart.
    """
    try:
        return _rendered(briefing, reason, templates or files.shipped(), chart)
    except files.OwnTemplateError as fault:
        # A template was sound with the example and is not with this alert. Whatever it says, people are told.
        return replace(_rendered(briefing, reason, files.shipped(), chart), template_fault=fault)


def _rendered(briefing: Briefing, reason: str, templates: Templates, chart: bytes | None) -> Message:
    values = values_of(briefing, reason, chart=chart is not None)
    # What has no rows, for one, is the same without them.
    ever_less = [less for less, _ in groupby(_ever_less(values))]
    forms = [(name, less) for name in (files.TEXT, files.MARKDOWN) for less in ever_less]
    title, html, *bodies = templates.write([(files.SUBJECT, values), (files.HTML, values), *forms])
    texts, marked = bodies[: len(ever_less)], bodies[len(ever_less) :]
    return Message(
        title=visible(title, _TITLE_LIMIT),
        text=texts[0],
        html=html,
        severity=briefing.alert.severity,
        shorter=tuple(Body(text=text, markdown=markdown) for text, markdown in zip(texts, marked, strict=True)),
        chart=chart,
        chart_fault=briefing.chart_fault,
    )


def values_of(briefing: Briefing, reason: str, *, chart: bool) -> dict[str, Any]:
    """What templates fill in. Texts are bounded, and lists have a length that a message has room for."""
    alert = briefing.alert
    # A single explanation stands in the summary.
    saw = (*(alert.explanations if len(alert.explanations) > 1 else ()), *briefing.model)
    return {
        "number": alert.alert_id,
        "severity": alert.severity.value,
        "colour": COLOURS[alert.severity],
        "host": visible(alert.host, _NAME_LIMIT),
        "rule": visible(alert.rule_title, _NAME_LIMIT),
        "rule_id": visible(alert.rule_id, _NAME_LIMIT),
        "reason": visible(reason, _NAME_LIMIT),
        "told_again": reason != _OPENED,
        "summary": visible(alert.summary, _SUMMARY_LIMIT).strip() or f"Alert {alert.alert_id}",
        "facts": _facts(alert, reason, about_capture=briefing.about_capture),
        "normal": _sentences(briefing.normal),
        "model": _sentences(saw),
        "about_rule": _sentences(briefing.rule, _RULE_LIMIT),
        "rows": [
            {
                "when": visible(row.when, _WORD_LIMIT),
                "who": visible(row.who, _WORD_LIMIT),
                "program": visible(row.program, _WORD_LIMIT),
                "connection": visible(row.connection, _WORD_LIMIT),
                "connects": visible(row.connects, _WORD_LIMIT),
            }
            for row in briefing.rows[: _ROWS_SHOWN[0]]
        ],
        "more_rows": briefing.more_rows + len(briefing.rows[_ROWS_SHOWN[0] :]),
        "commands": [each._asdict() for each in _commands(alert, about_capture=briefing.about_capture)],
        "chart": CHART_NAME if chart else "",
        "chart_title": visible(briefing.chart.title, _LINE_LIMIT) if briefing.chart is not None else "",
        "chart_fault": visible(briefing.chart_fault or "", _LINE_LIMIT),
    }


def _ever_less(values: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for shown in _ROWS_SHOWN:
        rows = values["rows"][:shown]
        more = values["more_rows"] + len(values["rows"]) - len(rows)
        if shown in (_ROWS_SHOWN[0], 0) or len(values["rows"]) > shown:
            yield {**values, "rows": rows, "more_rows": more if rows else 0}
    bare = {**values, "rows": [], "more_rows": 0, "about_rule": [], "chart_fault": ""}
    # What to do is the last of what a rule says that is left out.
    advised = {**bare, "about_rule": [each for each in values["about_rule"] if each.startswith(ADVICE)]}
    yield advised
    first = {"model": values["model"][:1], "normal": values["normal"][:1]}
    yield {**advised, **first}
    yield {**bare, **first}
    bare |= {"model": [], "normal": []}
    yield bare
    yield {**bare, "commands": values["commands"][:3]}
    yield {**bare, "facts": [], "commands": values["commands"][:3]}
    yield {**bare, "facts": [], "commands": values["commands"][:1], "summary": visible(values["summary"], _LINE_LIMIT)}


def _sentences(said: tuple[str, ...], limit: int = _SENTENCE_LIMIT) -> list[str]:
    return [visible(each, limit) for each in said]


def without_picture(html: str) -> str:
    """HTML without the place for the picture, where there is none."""
    return _PICTURE.sub("", html)


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


def document(severity: Severity, body: str) -> str:
    """HTML around a body that is escaped already, marked with the colour of a severity."""
    # No colours but the bar: the reader's own, light or dark, stay.
    style = (
        f"border-left:6px solid {COLOURS[severity]};padding:2px 14px;max-width:44em;"
        "font-family:sans-serif;line-height:1.45;overflow-wrap:anywhere"
    )
    return f'<div style="{style}">\n{body}\n</div>'


def _facts(alert: Alert, reason: str, *, about_capture: bool) -> list[tuple[str, str]]:
    facts = [
        ("Rule", f"{visible(alert.rule_title, _NAME_LIMIT)} ({visible(alert.rule_id, _NAME_LIMIT)})"),
        *([("Also seen by", visible(others, _LINE_LIMIT))] if (others := also_seen_text(alert)) else []),
        ("Severity", alert.severity.value),
        ("Host", visible(alert.host, _NAME_LIMIT)),
        ("When", _period(alert.start, alert.end)),
    ]
    if not about_capture:
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


def _commands(alert: Alert, *, about_capture: bool) -> list[Answer]:
    # Names from outside could be commands of their own once they are pasted into a shell.
    host = f" --host {alert.host}" if _PLAIN.fullmatch(alert.host) else ""
    # Whole seconds around it: a person reads this, and may type it.
    since = alert.start.replace(microsecond=0)
    until = (alert.end + timedelta(microseconds=999_999)).replace(microsecond=0)
    period = f"--since '{since.isoformat(sep=' ')}' --until '{until.isoformat(sep=' ')}'"
    first = Answer("see all of it", f"detector alerts show {alert.alert_id}")
    if about_capture:
        looks = [
            Answer("see which snapshots lack something", f"detector query --incomplete{host} {period}"),
            Answer("see what this machine lacks", "detector doctor"),
        ]
    else:
        looks = [Answer("see what else there was at the time", f"detector query{host} {period}")]
        if _PLAIN.fullmatch(alert.rule_id):
            looks.append(Answer("see why its rule matched", f"detector rules explain {alert.rule_id} {alert.alert_id}"))
    return [first, *answers(alert, about_capture=about_capture), *looks]


def _count(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


def _name(value: object) -> str:
    return visible(str(value), _NAME_LIMIT)
