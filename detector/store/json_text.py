"""JSON as the database holds it: what the standard library reads and writes, several times as fast."""

from __future__ import annotations

import json
from typing import Any

import msgspec

_encode, _decode = msgspec.json.Encoder().encode, msgspec.json.Decoder().decode


def written(value: Any) -> str:
    """A value as JSON.

    Raises:
        TypeError, ValueError: it cannot be written.
    """
    try:
        return _encode(value).decode()
    except (UnicodeError, OverflowError, TypeError, msgspec.MsgspecError):
        # Half of a character, or a number of more digits: what is unknown at all is refused here too.
        return json.dumps(value)


def read(text: str | bytes) -> Any:
    """What JSON says.

    Raises:
        RecursionError, ValueError: it is none.
    """
    try:
        return _decode(text)
    except (UnicodeError, RecursionError, msgspec.MsgspecError):
        # What is none for the standard library either is told in its words.
        return json.loads(text)
