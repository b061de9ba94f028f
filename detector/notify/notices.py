"""What is told that is no alert, as a message."""

from __future__ import annotations

from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING

import msgspec

from detector.digest import Kind, from_stored
from detector.errors import ChartError
from detector.notify.charts import draw
from detector.notify.digest_chart import digest_chart
from detector.notify.digest_message import render_digest
from detector.notify.message import Message, document
from detector.visible import visible

if TYPE_CHECKING:
    from detector.digest import Digest
    from detector.domain import Notice, Severity

_TITLE_LIMIT = 150
_LINE_LIMIT = 240


def render_notice(notice: Notice, *, chart: bool = False) -> Message:
    """The message that tells of `notice`: a digest, or else a `title` and `lines`.

    Args:
        chart: whether a picture is wanted; when one that belongs to it cannot be drawn, the message says why.
    """
    content = notice.content or {}
    if notice.kind in set(Kind):
        try:
            return _illustrated(from_stored(content), notice.severity, chart=chart)
        except msgspec.ValidationError:
            # Made before an upgrade or by another version in the fleet, and not told yet.
            content = {
                "title": f"{notice.kind} until {notice.subject}",
                "lines": ["Another version has made it. See: detector notify digest --since TIME --until TIME"],
            }
    written = content.get("lines")
    lines = [visible(str(line), _LINE_LIMIT) for line in written] if isinstance(written, list) else []
    return Message(
        title=visible(str(content.get("title", notice.kind)), _TITLE_LIMIT),
        text="\n".join(lines),
        html=document(notice.severity, "\n".join(f"<p>{escape(line)}</p>" for line in lines)),
        severity=notice.severity,
    )


def _illustrated(digest: Digest, severity: Severity, *, chart: bool) -> Message:
    message = render_digest(digest, severity)
    drawn = digest_chart(digest) if chart else None
    if drawn is None:
        return message
    try:
        return replace(message, chart=draw(drawn))
    except ChartError as fault:
        return replace(message, chart_fault=fault.message)
