"""Text from outside, made harmless to look at."""

from __future__ import annotations


def visible(text: str, limit: int | None = None) -> str:
    r"""`text` on one line, with everything that does not print written out (`\x1b`, `\n`, `\u202e`).

    Names and paths are chosen by whoever is watched: escape sequences could rewrite a screen, line breaks forge a mail
    header or a second log line, and marks of writing direction turn a path around.

    Args:
        limit: the most characters to give back; what is longer ends in "…".
    """
    if limit is not None and len(text) > limit:
        # Cut before and after: writing a character out makes it up to ten times longer.
        text = text[:limit] + "…"
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if limit is None or len(text) <= limit else text[: limit - 1] + "…"
