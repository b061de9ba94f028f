"""How faults name things: quoted, escaped and short, with the nearest valid name."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

_LONGEST = 60
_MOST_NAMES = 40


def shown(value: Any) -> str:
    """`value` as Python would write it, cut to what a line can hold. Control characters come out escaped."""
    text = repr(value[:_LONGEST] if isinstance(value, str) else value)
    return text if len(text) <= _LONGEST + 2 else f"{text[:_LONGEST]}…"


def nearest(name: str, known: Iterable[str]) -> str:
    """What to write in place of `name`: the nearest of `known`, or all of them if they are few."""
    names = list(known)
    folded = {each.lower(): each for each in names}
    near = difflib.get_close_matches(name[:_LONGEST].lower(), folded, n=1)
    if near:
        return f"did you mean {_bare(folded[near[0]])}?"
    return listed(names) if len(names) <= _MOST_NAMES else "check how it is written"


def listed(names: Iterable[str]) -> str:
    """All of what is known, for a name that is none of it, however much it looks like one."""
    return f"known here: {', '.join(map(_bare, names))}"


def _bare(name: str) -> str:
    """Without quotes where nothing in the name could be mistaken for anything else."""
    return name if re.fullmatch(r"[\w.-]{1,60}", name, re.ASCII) else shown(name)
