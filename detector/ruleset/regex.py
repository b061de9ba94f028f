"""Regular expressions that mean the same on SQLite and Postgres: a subset of what both know, with a parser of its own.

Only whether a text holds a match is asked, so that any two engines agree which agree on the language. The case of
letters, `.` and classes, in which engines differ, become sets of characters here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from detector.ruleset.wording import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

LAST = 0x10FFFF
"""The last character that there is."""
_LONGEST = 500
# Of Postgres, one less than its DUPMAX.
_MOST_TIMES = 254
# What a repeated part is written out to. Postgres gives up at some hundred thousand.
_MOST_PLACES = 1000
_DEEPEST = 20

Ranges = tuple[tuple[int, int], ...]
"""Characters, as first and last code points in ascending order without overlap."""

_DIGIT: Ranges = ((0x30, 0x39),)
_WORD: Ranges = ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A))
_SPACE: Ranges = ((0x09, 0x0D), (0x20, 0x20))
_CLASSES = {"d": _DIGIT, "w": _WORD, "s": _SPACE}
_CONTROLS = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v"}
_HOW_TO_ESCAPE = "for the character itself write a backslash before it"
_STRANGE = {
    "A": "write ^",
    "Z": "write $",
    "z": "write $",
    "B": "write the characters that may stand there, such as [^ ]",
    "p": "name the characters in brackets",
    "P": "name the characters in brackets",
    "k": "write the text out again",
}


@dataclass(frozen=True, slots=True)
class Chars:
    """One character out of several."""

    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Anchor:
    """A place in the text: "^", "$" or "b", where a word begins or ends."""

    kind: str


@dataclass(frozen=True, slots=True)
class Sequence:
    """One part after another."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the parts."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """The part at least `low` and at most `high` times (None: any number)."""

    part: Node
    low: int
    high: int | None
    text: str
    """As it is written."""


Node = Chars | Anchor | Sequence | Choice | Repeat


class RegexError(Exception):
    """A regular expression that is refused: what is wrong, and what to write instead."""


def complement(ranges: Ranges) -> Ranges:
    """All other characters."""
    edges = [0, *(edge for low, high in ranges for edge in (low, high + 1)), LAST + 1]
    pairs = zip(edges[::2], edges[1::2], strict=True)
    return tuple((max(low, 1), end - 1) for low, end in pairs if max(low, 1) < end)


def union(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """The characters of all of `ranges`, which may overlap."""
    found: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if found and low <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], high))
        else:
            found.append((low, high))
    return tuple(found)


def parse(text: str, flags: frozenset[str]) -> Node:
    """The tree of a regular expression.

    Args:
        text: as written, without flags before it.
        flags: of "i" (the case of A to Z does not count) and "s" ("." is also a line feed); others are ignored.

    Raises:
        RegexError: what is wrong, and what to write instead.
    """
    if len(text) > _LONGEST:
        raise RegexError(f"the regular expression is longer than {_LONGEST} characters; split it")
    reader = _Reader(text, flags)
    tree = reader.choice()
    if reader.at < len(text):
        raise RegexError("a ) closes nothing in the regular expression; remove it, or write \\)")
    if places(tree) > _MOST_PLACES:
        raise RegexError(
            f"with its repetitions written out the regular expression has more than {_MOST_PLACES} places; "
            "repeat less, or write * or +"
        )
    return tree


def places(node: Node) -> int:
    """How many characters the tree names, those of repeated parts as often as they are written out."""
    if isinstance(node, Repeat):
        return places(node.part) * max(node.low, node.high or 1, 1)
    return sum(map(places, node.parts)) if isinstance(node, Sequence | Choice) else 1


class _Reader:
    """Reads one regular expression from left to right."""

    def __init__(self, text: str, flags: frozenset[str]) -> None:
        self._text = text
        self._fold = "i" in flags
        self._any: Ranges = ((1, LAST),) if "s" in flags else complement(((0x0A, 0x0A),))
        self._depth = 0
        self.at = 0

    def choice(self) -> Node:
        parts = [self._sequence()]
        while self._takes("|"):
            parts.append(self._sequence())
        return parts[0] if len(parts) == 1 else Choice(tuple(parts))

    def _sequence(self) -> Node:
        parts: list[Node] = []
        while self.at < len(self._text) and self._text[self.at] not in "|)":
            start = self.at
            parts.append(self._repeated(self._atom(), start))
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def _takes(self, wanted: str) -> bool:
        if self._text.startswith(wanted, self.at):
            self.at += len(wanted)
            return True
        return False

    def _next(self) -> str:
        if self.at >= len(self._text):
            raise RegexError(f"the regular expression ends within something; {_HOW_TO_ESCAPE}")
        self.at += 1
        return self._text[self.at - 1]

    def _chars(self, ranges: Iterable[tuple[int, int]]) -> Chars:
        return Chars(_folded(union(ranges)) if self._fold else union(ranges))

    def _atom(self) -> Node:
        character = self._next()
        match character:
            case "(":
                return self._group()
            case "[":
                return self._class()
            case ".":
                return Chars(self._any)
            case "^" | "$":
                return Anchor(character)
            case "\\":
                return Anchor("b") if self._takes("b") else self._chars(self._escaped())
            case "*" | "+" | "?" | "{":
                raise RegexError(f"{character} repeats nothing in the regular expression; {_HOW_TO_ESCAPE}")
        return self._chars([(ord(character), ord(character))])

    def _group(self) -> Node:
        if self._takes("?") and not self._takes(":"):
            kind = self._text[self.at : self.at + 2]
            if kind[:1] in ("=", "!") or kind in ("<=", "<!"):
                raise RegexError(
                    f"looking around, (?{kind.strip('<')[:1]}…), is not known here; write another line or a not"
                )
            what = shown(f"(?{kind[:1]}")
            raise RegexError(f"{what} is not known here; for a group write (…), for flags |re|i, |re|m or |re|s")
        self._depth += 1
        if self._depth > _DEEPEST:
            raise RegexError(f"groups are nested more than {_DEEPEST} deep; write it flatter")
        inner = self.choice()
        self._depth -= 1
        if not self._takes(")"):
            raise RegexError("a ( is not closed in the regular expression; close it, or write \\(")
        return inner

    def _repeated(self, atom: Node, start: int) -> Node:
        times = self._times()
        if times is None:
            return atom
        # Whether it takes little or much does not change whether there is a match.
        self._takes("?")
        if self._text[self.at : self.at + 1] in ("*", "+", "?", "{"):
            raise RegexError("a repetition is repeated in the regular expression; keep one, or put it in a group")
        if isinstance(atom, Anchor):
            raise RegexError("a place is repeated in the regular expression, which is always there once; remove one")
        low, high = times
        return Repeat(atom, low, high, self._text[start : self.at])

    def _times(self) -> tuple[int, int | None] | None:
        for sign, times in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._takes(sign):
                return times
        if not self._takes("{"):
            return None
        end = self._text.find("}", self.at)
        low, comma, high = self._text[self.at : max(end, self.at)].partition(",")
        # The lengths keep int() from numbers of thousands of digits.
        if not all(
            each.isascii() and each.isdecimal() and len(each) <= len(str(_MOST_TIMES)) for each in (low, high or low)
        ):
            raise RegexError("{ is not followed by a number in the regular expression; write {2} or {2,5}, or \\{")
        self.at = end + 1
        least = int(low)
        most = int(high) if high else None if comma else least
        if max(least, most or 0) > _MOST_TIMES:
            raise RegexError(f"the regular expression repeats more than {_MOST_TIMES} times; write * or +")
        if most is not None and (most < least or most == 0):
            raise RegexError(f"{{{low}{comma}{high}}} never holds; write the smaller number first, and more than 0")
        return least, most

    def _escaped(self) -> Ranges:
        character = self._next()
        if character.lower() in _CLASSES:
            known = _CLASSES[character.lower()]
            return known if character.islower() else complement(known)
        if character in _CONTROLS:
            return ((ord(_CONTROLS[character]),) * 2,)
        if character == "x":
            digits = self._text[self.at : self.at + 2]
            if len(digits) != len("ff") or not set(digits) <= set("0123456789abcdefABCDEF") or not int(digits, 16):
                raise RegexError("\\x is not followed by two hexadecimal digits; write it as \\x7f")
            self.at += 2
            return ((int(digits, 16),) * 2,)
        if character.isdecimal():
            raise RegexError(f"\\{character} refers back, which takes too long to match; write the text out again")
        if character.isalpha():
            advice = _STRANGE.get(character, "remove the backslash, or write what it stands for")
            raise RegexError(f"\\{character} is not known here; {advice}")
        return ((ord(character),) * 2,)

    def _class(self) -> Node:
        negated = self._takes("^")
        found: list[tuple[int, int]] = []
        first = True
        while first or not self._takes("]"):
            first = False
            if self._text[self.at : self.at + 2] in ("[:", "[.", "[="):
                raise RegexError("[: … :] is not known here; write the characters, such as [A-Za-z]")
            found += self._range()
        chars = self._chars(found)
        ranges = complement(chars.ranges) if negated else chars.ranges
        if not ranges:
            raise RegexError("the class [^ … ] leaves no character; write one that does")
        return Chars(ranges)

    def _range(self) -> Ranges:
        low = self._member()
        if self._text[self.at : self.at + 1] != "-" or self._text[self.at : self.at + 2] in ("-", "-]"):
            return low
        self.at += 1
        high = self._member()
        if len(low) > 1 or len(high) > 1 or low[0][0] != low[0][1] or high[0][0] != high[0][1]:
            raise RegexError("a range in brackets needs a character on either side; write \\- for the sign itself")
        if low[0][0] > high[0][0]:
            raise RegexError("a range in brackets ends before it begins; write the smaller character first")
        return ((low[0][0], high[0][0]),)

    def _member(self) -> Ranges:
        character = self._next()
        if character != "\\":
            return ((ord(character),) * 2,)
        if self._takes("b"):
            raise RegexError("\\b in brackets is not known here; write \\x08")
        return self._escaped()


def _folded(ranges: Ranges) -> Ranges:
    """With both cases of the letters A to Z that are among them."""
    capital, small, apart = (0x41, 0x5A), (0x61, 0x7A), 0x20
    both = list(ranges)
    for low, high in ranges:
        for (first, last), step in ((capital, apart), (small, -apart)):
            if max(low, first) <= min(high, last):
                both.append((max(low, first) + step, min(high, last) + step))
    return union(both)
