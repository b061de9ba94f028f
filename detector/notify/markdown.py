"""Text from outside as Markdown that shows just this text."""

from __future__ import annotations

import re

# What begins or ends something in any dialect of Markdown; some does at the beginning alone, a colon before slashes,
# where it makes a link.
_MARKUP = re.compile(r"[\\`*_\[\]<>#~|&]|^[+=-]|(?:(?<=^\d)|(?<=^\d\d))[.)]|:(?=//)|(?<=www)\.", re.IGNORECASE)
_MENTION = re.compile(r"@(?=\w)")


def escaped(text: str) -> str:
    """Text as Markdown that shows just this, links nowhere and calls nobody.

    No dialect has an escape for "@" that all keep to, and so the wide form of it stands there.
    """
    return _MENTION.sub("\uff20", _MARKUP.sub(lambda found: f"\\{found[0]}", text))


def escaped_lines(text: str) -> str:
    """Lines as Markdown that shows just these."""
    return "  \n".join(escaped(line) for line in text.split("\n"))
