"""A digest as a message."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector.notify import digest_wording as words
from detector.notify.digest_html import html_body, html_page
from detector.notify.digest_text import full_text, short_text
from detector.notify.message import Message, document
from detector.visible import visible

if TYPE_CHECKING:
    from detector.digest import Digest
    from detector.domain import Severity

_TITLE_LIMIT = 150


def render_digest(digest: Digest, severity: Severity) -> Message:
    """The message that brings a digest, marked with a severity."""
    return Message(
        title=visible(words.title(digest), _TITLE_LIMIT),
        text=short_text(digest),
        html=document(severity, html_body(digest)),
        plain=full_text(digest),
        severity=severity,
    )


def page(digest: Digest, severity: Severity) -> str:
    """The same as a page for a file."""
    return html_page(words.title(digest), document(severity, html_body(digest)))
