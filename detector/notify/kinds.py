"""Kinds of channels: in which form each takes a message, how much of it, and whether it takes a picture."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Form(StrEnum):
    """The forms that a message is written in."""

    TEXT = "text"
    MARKDOWN = "markdown"
    """CommonMark."""
    HTML = "html"
    """Of mail."""


class Picture(StrEnum):
    """How a channel takes a picture."""

    NONE = "none"
    INLINE = "inline"
    """In the message, by `cid:`."""
    WITH = "with"
    """As one request with the message: both arrive, or neither does."""
    AFTER = "after"
    """After the message has been taken: when that fails, the message is there all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What a service takes."""

    name: str
    form: Form = Form.TEXT
    limit: int | None = None
    """The most characters of the body, where that is less than apprise says."""
    picture: Picture = Picture.NONE


_SERVICES: tuple[tuple[tuple[str, ...], Kind], ...] = (
    (("mailto", "mailtos"), Kind(name="mail", form=Form.HTML, picture=Picture.INLINE)),
    # A section of a block holds so much. https://docs.slack.dev/reference/block-kit/blocks/section-block
    (("slack",), Kind(name="slack", limit=3000, picture=Picture.AFTER)),
    (("discord",), Kind(name="discord", form=Form.MARKDOWN, picture=Picture.AFTER)),
    (("workflow", "workflows"), Kind(name="teams", form=Form.MARKDOWN)),
    (("mmost", "mmosts"), Kind(name="mattermost", form=Form.MARKDOWN, picture=Picture.WITH)),
    (("rocket", "rockets"), Kind(name="rocketchat", form=Form.MARKDOWN)),
    (("gchat",), Kind(name="googlechat", form=Form.MARKDOWN)),
    (("matrix", "matrixs"), Kind(name="matrix", picture=Picture.AFTER)),
    # With a picture the message stands in the address of the request, which servers take no more of.
    (("ntfy", "ntfys"), Kind(name="ntfy", limit=1500, picture=Picture.WITH)),
    (("pagerduty",), Kind(name="pagerduty")),
    (("tgram",), Kind(name="telegram", picture=Picture.AFTER)),
    (("pover",), Kind(name="pushover", picture=Picture.WITH)),
)
KINDS = {scheme: kind for schemes, kind in _SERVICES for scheme in schemes}
"""By the scheme of the apprise address. Of all others plain text is sent, without a picture."""


def kind_of(scheme: str) -> Kind:
    """The kind of a channel, by the scheme of its address."""
    return KINDS.get(scheme.lower(), Kind(name=scheme.lower()))
