"""The sentences that say best why an alert is unusual."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# A number that is a word by itself, and no port: what was counted, and not what it is about.
_FIGURE = re.compile(r"(?<!port )(?<!\S)\d[\d,]*(?:\.\d+)?%?(?=[\s,;.]|$)(?!\.\d)")
_WITHOUT_FIGURES = str.maketrans("", "", "0123456789,.%")


def strangest(said: Sequence[tuple[float, str]], most: int) -> tuple[tuple[float, str], ...]:
    """The strangest of some sentences, in that order, each with its surprise.

    Of those that differ in what they count alone ("1,461 of 1,490 connects failed", "743 of 771 connects failed") one
    stands for all: what goes on from snapshot to snapshot would take the place of what else is unusual.
    """
    # Without figures they differ, as nearly all do of alerts by the thousand: then a look at each figure finds nothing.
    if len(said) == 1 or len({sentence.translate(_WITHOUT_FIGURES) for _, sentence in said}) == len(said):
        return tuple(sorted(said, key=_order)[:most])
    best: dict[str, tuple[float, str]] = {}
    for surprise, sentence in said:
        shape = _shape(sentence)
        if shape not in best or _order((surprise, sentence)) < _order(best[shape]):
            best[shape] = surprise, sentence
    return tuple(sorted(best.values(), key=_order)[:most])


def _order(one: tuple[float, str]) -> tuple[float, str]:
    return -one[0], one[1]


# Each snapshot says again what the ones before it said.
@lru_cache(4096)
def _shape(sentence: str) -> str:
    return _FIGURE.sub("#", sentence)
