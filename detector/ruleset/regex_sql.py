"""Regular expressions as SQL: RE2 on SQLite, Postgres' own on Postgres, each told the same in its own syntax."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import Boolean, Text, TypeDecorator, bindparam
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from detector.ruleset.regex import LAST, Anchor, Chars, Choice, Node, Ranges, Repeat, complement, parse
from detector.ruleset.regex_growth import check_growth

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Dialect
    from sqlalchemy.sql.compiler import SQLCompiler

_POSTGRES = "postgresql"
# No text has them; a class may begin or end in their midst.
_SURROGATES = (0xD800, 0xDFFF)
_FLAGS = re.compile(r"\(\?([ims]+)\)")


@dataclass(frozen=True, slots=True)
class Regex:
    """A regular expression that was read and found harmless."""

    text: str
    """As it is written."""
    flags: frozenset[str] = frozenset()
    tree: Node = field(compare=False, kw_only=True)

    @classmethod
    def read(cls, text: str, flags: frozenset[str]) -> Regex:
        """Reads what stands in a rule.

        Args:
            text: may begin with flags, as "(?i)".
            flags: more of them: "i", "m" and "s".

        Raises:
            RegexError: what is wrong, and what to write instead.
        """
        before = _FLAGS.match(text)
        flags |= frozenset(before.group(1)) if before else frozenset()
        tree = parse(text[before.end() :] if before else text, flags)
        check_growth(tree)
        return cls(text, flags, tree=tree)

    def written(self, dialect: str) -> str:
        """As `dialect` (SQLAlchemy's name of it) takes it."""
        lines = "m" in self.flags
        if dialect == _POSTGRES:
            # "w": lines begin and end at line feeds, and . and classes stay as they are.
            anchors = {"^": "^", "$": "$"} if lines else {"^": r"\A", "$": r"\Z"}
            return ("(?w)" if lines else "") + _written(self.tree, {**anchors, "b": r"\y"}, r"\U{:08X}", ".")
        anchors = {"^": "(?m:^)", "$": "(?m:$)"} if lines else {"^": r"\A", "$": r"\z"}
        return _written(self.tree, {**anchors, "b": r"\b"}, r"\x{{{:X}}}", "(?s:.)")


class _RegexType(TypeDecorator[Regex]):
    """A regular expression as text of the database's dialect."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Regex | None, dialect: Dialect) -> str | None:
        """Each dialect has its own syntax."""
        return None if value is None else value.written(dialect.name)


class _HoldsMatch(FunctionElement[bool]):
    """Whether a text holds a match; NULL if it is missing."""

    type = Boolean()
    inherit_cache = True


@compiles(_HoldsMatch)
def _holds(element: _HoldsMatch, compiler: SQLCompiler, **options: Any) -> str:
    # SQLite knows none by itself: see detector.store.functions.
    text, pattern = (compiler.process(clause, **options) for clause in element.clauses)
    return f"holds_match({text}, {pattern})"


@compiles(_HoldsMatch, _POSTGRES)
def _holds_postgres(element: _HoldsMatch, compiler: SQLCompiler, **options: Any) -> str:
    text, pattern = (compiler.process(clause, **options) for clause in element.clauses)
    return f'(({text}) COLLATE "C" ~ {pattern})'


def holds_match(text: ColumnElement[Any], regex: Regex) -> ColumnElement[bool]:
    """Whether `text` holds a match of `regex`."""
    return _HoldsMatch(text, bindparam(None, regex, type_=_RegexType, unique=True))


def _written(node: Node, anchors: dict[str, str], code: str, anything: str) -> str:
    """The tree in the syntax that `anchors` and `code`, the format of a character's number, belong to."""
    if isinstance(node, Chars):
        return _class(node.ranges, code, anything)
    if isinstance(node, Anchor):
        return anchors[node.kind]
    if isinstance(node, Repeat):
        times = f"{{{node.low},{'' if node.high is None else node.high}}}"
        part = _written(node.part, anchors, code, anything)
        return (part if isinstance(node.part, Chars) else f"(?:{part})") + _SIGNS.get(times, times)
    parts = [_written(part, anchors, code, anything) for part in node.parts]
    return f"(?:{'|'.join(parts)})" if isinstance(node, Choice) else "".join(parts)


_SIGNS = {"{0,}": "*", "{1,}": "+", "{0,1}": "?"}


def _class(ranges: Ranges, code: str, anything: str) -> str:
    if len(ranges) == 1 and ranges[0][0] == ranges[0][1]:
        character = chr(ranges[0][0])
        if character.isalnum() or not character.isascii():
            return character
        return f"\\{character}" if character.isprintable() and character not in " _" else code.format(ord(character))
    negated = ranges[-1][1] == LAST
    named = complement(ranges) if negated else ranges
    if not named:
        return anything
    inner = "".join(_range(low, high, code) for low, high in named)
    return f"[{'^' if negated else ''}{inner}]"


def _range(low: int, high: int, code: str) -> str:
    low = _SURROGATES[1] + 1 if _SURROGATES[0] <= low <= _SURROGATES[1] else low
    high = _SURROGATES[0] - 1 if _SURROGATES[0] <= high <= _SURROGATES[1] else high
    if low > high:
        return ""
    first, last = (chr(each) if chr(each).isalnum() else code.format(each) for each in (low, high))
    return first if low == high else f"{first}-{last}"
