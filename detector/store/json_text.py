"""JSON as the database holds it: what the standard library reads and writes, several times as fast."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from msgspec import MsgspecError


@cache
def _fast() -> tuple[Callable[[Any], bytes], Callable[[str | bytes], Any], type[MsgspecError]]:
    """What writes, what reads, and what they raise: loaded when it is needed, which in `collect` it never is."""
    import msgspec

    return msgspec.json.Encoder().encode, msgspec.json.Decoder().decode, msgspec.MsgspecError


def written(value: Any) -> str:
    """A value as JSON.

    Raises:
        TypeError, ValueError: it cannot be written.
    """
    encode, _, refused = _fast()
    try:
        return encode(value).decode()
    except (UnicodeError, OverflowError, TypeError, refused):
        # Half of a character, or a number of more digits: what is unknown at all is refused here too.
        return json.dumps(value)


def read(text: str | bytes) -> Any:
    """What JSON says.

    Raises:
        RecursionError, ValueError: it is none.
    """
    _, decode, refused = _fast()
    try:
        return decode(text)
    except (UnicodeError, RecursionError, refused):
        # What is none for the standard library either is told in its words.
        return json.loads(text)
