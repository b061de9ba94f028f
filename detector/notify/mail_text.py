"""The plain text of a mail.

apprise makes it of the HTML, and so loses what sets a list or a command apart. There is a text already, written by a
template of its own.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MEANT = threading.local()
_MARK = "_is_meant_text"


@contextmanager
def beside_html(text: str) -> Iterator[None]:
    """The mails that this thread makes in the meantime have `text` beside their HTML."""
    _replace()
    _MEANT.text = text
    try:
        yield
    finally:
        del _MEANT.text


def _replace() -> None:
    from apprise.plugins.email import base

    # Where apprise's mail looks it up. One that has it elsewhere sends what it makes itself: a mail is worth more.
    place: Any = base
    convert: Callable[..., str] | None = getattr(place, "convert_between", None)
    if convert is not None and not hasattr(convert, _MARK):
        place.convert_between = _meant_or(convert)


def _meant_or(convert: Callable[..., str]) -> Callable[..., str]:
    def text(*of: Any, **more: Any) -> str:
        meant: str | None = getattr(_MEANT, "text", None)
        return convert(*of, **more) if meant is None else meant

    setattr(text, _MARK, True)
    return text
