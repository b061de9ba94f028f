"""Texts and patterns as SQL: what SQLite and Postgres take for the same, with and without the case of letters."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from sigma.types import SigmaString, SpecialChars
from sqlalchemy import Boolean, Integer, Text, TypeDecorator, bindparam
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from detector.ruleset.values import folded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import ColumnElement, Dialect
    from sqlalchemy.sql.compiler import SQLCompiler

_POSTGRES = "postgresql"
_ESCAPE = "\\"


class FoldedCase(FunctionElement[str]):
    """Lower case of ASCII letters alone, on both databases: what `folded` does to the value.

    SQLite's lower() knows no other letters, and Postgres' knows as many as the database's locale; in the locale "C"
    the two agree.
    """

    type = Text()
    inherit_cache = True


@compiles(FoldedCase)
def _fold(element: FoldedCase, compiler: SQLCompiler, **options: Any) -> str:
    return f"lower({compiler.process(element.clauses, **options)})"


@compiles(FoldedCase, _POSTGRES)
def _fold_postgres(element: FoldedCase, compiler: SQLCompiler, **options: Any) -> str:
    return f'lower(({compiler.process(element.clauses, **options)}) COLLATE "C")'


class Position(FunctionElement[int]):
    """Where the second text first stands in the first one, from 1; 0: nowhere."""

    type = Integer()
    inherit_cache = True


@compiles(Position)
def _position(element: Position, compiler: SQLCompiler, **options: Any) -> str:
    return f"instr({compiler.process(element.clauses, **options)})"


@compiles(Position, _POSTGRES)
def _position_postgres(element: Position, compiler: SQLCompiler, **options: Any) -> str:
    return f"strpos({compiler.process(element.clauses, **options)})"


class _CasedLike(FunctionElement[bool]):
    """SQLite's LIKE knows no case and its GLOB does; Postgres' LIKE does."""

    type = Boolean()
    inherit_cache = True


@compiles(_CasedLike)
def _like(element: _CasedLike, compiler: SQLCompiler, **options: Any) -> str:
    text, pattern = (compiler.process(clause, **options) for clause in element.clauses)
    return f"({text} GLOB {pattern})"


@compiles(_CasedLike, _POSTGRES)
def _like_postgres(element: _CasedLike, compiler: SQLCompiler, **options: Any) -> str:
    text, pattern = (compiler.process(clause, **options) for clause in element.clauses)
    return f"({text} LIKE {pattern})"


class _Pattern(TypeDecorator[tuple[str, str]]):
    """A pattern in the syntax of GLOB and in that of LIKE, of which each database takes its own."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: tuple[str, str] | None, dialect: Dialect) -> str | None:
        """The text that is bound."""
        return None if value is None else value[dialect.name == _POSTGRES]


def folded_like(text: ColumnElement[Any], value: SigmaString) -> ColumnElement[bool]:
    """Whether `text` matches `value`, the case of ASCII letters aside."""
    return FoldedCase(text).like(folded(_as_like(value)), escape=_ESCAPE)


def cased_like(text: ColumnElement[Any], value: SigmaString) -> ColumnElement[bool]:
    """Whether `text` matches `value`, letter by letter."""
    glob = _written(value, {SpecialChars.WILDCARD_MULTI: "*", SpecialChars.WILDCARD_SINGLE: "?"}, r"[*?\[]", r"[\g<0>]")
    return _CasedLike(text, bindparam(None, (glob, _as_like(value)), type_=_Pattern, unique=True))


def is_like(text: str, value: SigmaString) -> bool:
    """Whether `text` matches `value`, the case of ASCII letters aside."""
    parts = [folded(part) if isinstance(part, str) else part for part in value.s]
    signs: Mapping[Any, str] = {SpecialChars.WILDCARD_MULTI: ".*", SpecialChars.WILDCARD_SINGLE: "."}
    pattern = "".join(re.escape(part) if isinstance(part, str) else signs[part] for part in parts)
    return re.fullmatch(pattern, folded(text), re.DOTALL) is not None


def _as_like(value: SigmaString) -> str:
    return _written(value, {SpecialChars.WILDCARD_MULTI: "%", SpecialChars.WILDCARD_SINGLE: "_"}, r"[%_\\]", r"\\\g<0>")


def _written(value: SigmaString, signs: Mapping[Any, str], special: str, escaped: str) -> str:
    return "".join(re.sub(special, escaped, part) if isinstance(part, str) else signs[part] for part in value.s)
