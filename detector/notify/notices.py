"""What is told that is no alert, as a message."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import msgspec

from detector.digest import Kind, from_stored
from detector.notify.digest_message import render_digest
from detector.notify.message import Message, document
from detector.visible import visible

if TYPE_CHECKING:
    from detector.domain import Notice

_TITLE_LIMIT = 150
_LINE_LIMIT = 240


def render_notice(notice: Notice) -> Message:
    """The message that tells of `notice`: a digest, or else a `title` and `lines`."""
    content = notice.content or {}
    if notice.kind in set(Kind):
        try:
            return render_digest(from_stored(content), notice.severity)
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
