"""What is told that is no alert, as a message."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from detector.notify.message import Message, document
from detector.visible import visible

if TYPE_CHECKING:
    from detector.domain import Notice

_TITLE_LIMIT = 150
_LINE_LIMIT = 240


def render_notice(notice: Notice) -> Message:
    """The message that tells of `notice`, whose content is a `title` and `lines`."""
    content = notice.content or {}
    written = content.get("lines")
    lines = [visible(str(line), _LINE_LIMIT) for line in written] if isinstance(written, list) else []
    return Message(
        title=visible(str(content.get("title", notice.kind)), _TITLE_LIMIT),
        text="\n".join(lines),
        html=document(notice.severity, "\n".join(f"<p>{escape(line)}</p>" for line in lines)),
        severity=notice.severity,
    )
