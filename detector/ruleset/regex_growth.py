"""Refuses regular expressions that can match one text in so many ways that engines which try them all never end.

The engines here try none twice (RE2 and Postgres keep sets of states). But a rule is a file that other programs read as
well, and what is ambiguous is hardly ever what was meant.

The test is that of Brüggemann-Klein and Wood (1998) for one-unambiguous expressions, in its strong form, of each part
that is repeated: the character at hand alone tells which place of the part it fits, and whether the part begins anew.
It refuses some that would do no harm, and lets none through that does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from detector.ruleset.regex import Anchor, Chars, Choice, Node, Ranges, RegexError, Repeat, Sequence
from detector.ruleset.wording import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

_ADVICE = "write it so that the next character tells what follows, such as (?:[a-z]+[.])+ or ab?c?"


def check_growth(node: Node) -> None:
    """Looks at each repeated part.

    Raises:
        RegexError: which part is ambiguous, and what to write instead.
    """
    if isinstance(node, Repeat):
        if node.high != 1:
            _check_loop(node)
        check_growth(node.part)
    elif isinstance(node, Sequence | Choice):
        for part in node.parts:
            check_growth(part)


@dataclass(slots=True)
class _Shape:
    """How a part can begin and end. Its places are numbers; `_Places` knows what each takes."""

    empty: bool
    first: list[int] = field(default_factory=list)
    last: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _Places:
    """The places of one repeated part: which characters each takes, and which places may follow it."""

    chars: list[Ranges] = field(default_factory=list)
    after: list[list[int]] = field(default_factory=list)

    def shape(self, node: Node) -> _Shape:
        if isinstance(node, Anchor):
            return _Shape(empty=True)
        if isinstance(node, Chars):
            self.chars.append(node.ranges)
            self.after.append([])
            return _Shape(empty=False, first=[len(self.chars) - 1], last=[len(self.chars) - 1])
        if isinstance(node, Repeat):
            return self._repeat(node)
        shapes = [self.shape(part) for part in node.parts]
        if isinstance(node, Choice):
            return _Shape(
                empty=any(each.empty for each in shapes),
                first=[place for each in shapes for place in each.first],
                last=[place for each in shapes for place in each.last],
            )
        return self._sequence(shapes)

    def _sequence(self, shapes: list[_Shape]) -> _Shape:
        whole = _Shape(empty=True)
        for each in shapes:
            for place in whole.last:
                self.after[place] += each.first
            if whole.empty:
                whole.first += each.first
            whole.last = [*whole.last, *each.last] if each.empty else each.last
            whole.empty = whole.empty and each.empty
        return whole

    def _repeat(self, node: Repeat) -> _Shape:
        shape = self.shape(node.part)
        # Whoever counts to a fixed number always knows whether it begins anew.
        if node.high != node.low:
            for place in shape.last:
                self.after[place] += shape.first
        return _Shape(empty=shape.empty or node.low == 0, first=shape.first, last=shape.last)


def _check_loop(node: Repeat) -> None:
    places = _Places()
    shape = places.shape(node.part)
    if shape.empty and node.high is None:
        raise RegexError(f"{shown(node.text)} repeats what may be nothing; repeat something that is always there")
    begins = [places.chars[place] for place in shape.first]
    several = _overlap(begins) or any(_overlap(places.chars[then] for then in after) for after in places.after)
    anew = any(_overlap([*(places.chars[then] for then in places.after[place]), *begins]) for place in shape.last)
    if several or anew:
        raise RegexError(f"{shown(node.text)} can match one text in many ways, which can take for ever; {_ADVICE}")


def _overlap(several: Iterable[Ranges]) -> bool:
    """Whether two of them have a character in common."""
    edges = sorted(each for ranges in several for each in ranges)
    return any(then[0] <= before[1] for before, then in pairwise(edges))
