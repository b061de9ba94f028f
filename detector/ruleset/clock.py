"""The hour and the weekday of a moment in UTC, as SQL of either database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Integer
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction

if TYPE_CHECKING:
    from sqlalchemy.sql.compiler import SQLCompiler

_HOUR_US = 3_600_000_000
_DAY_US = 24 * _HOUR_US
# 1970-01-01, the day that microseconds are counted from, was a Thursday: three days after a Monday.
_DAYS_AFTER_MONDAY = 3


class utc_hour(GenericFunction[int]):  # noqa: N801 - named as in SQL
    """0 to 23, of a `UtcDateTime`."""

    type = Integer()
    inherit_cache = True


class utc_weekday(GenericFunction[int]):  # noqa: N801 - named as in SQL
    """1 (Monday) to 7 (Sunday), of a `UtcDateTime`."""

    type = Integer()
    inherit_cache = True


@compiles(utc_hour, "sqlite")
def _hour_of_microseconds(function: utc_hour, compiler: SQLCompiler, **how: Any) -> str:
    return f"({_moment(function, compiler, how)} / {_HOUR_US} % 24)"


@compiles(utc_weekday, "sqlite")
def _weekday_of_microseconds(function: utc_weekday, compiler: SQLCompiler, **how: Any) -> str:
    return f"(({_moment(function, compiler, how)} / {_DAY_US} + {_DAYS_AFTER_MONDAY}) % 7 + 1)"


@compiles(utc_hour, "postgresql")
def _hour_of_timestamp(function: utc_hour, compiler: SQLCompiler, **how: Any) -> str:
    return f"CAST(EXTRACT(HOUR FROM {_moment(function, compiler, how)} AT TIME ZONE 'UTC') AS INTEGER)"


@compiles(utc_weekday, "postgresql")
def _weekday_of_timestamp(function: utc_weekday, compiler: SQLCompiler, **how: Any) -> str:
    return f"CAST(EXTRACT(ISODOW FROM {_moment(function, compiler, how)} AT TIME ZONE 'UTC') AS INTEGER)"


def _moment(function: GenericFunction[int], compiler: SQLCompiler, how: dict[str, Any]) -> str:
    return compiler.process(function.clauses, **how)
