"""Sums over the past, as objects and as tables: by fields (`--by`), and of keys that are new (`--new`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from detector.cli.tables import Column, local_column, print_table
from detector.cli.terminal import local
from detector.domain import Outcome
from detector.row_words import connection_text, connects, program_text, who_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from detector.store.grouping import Group

SUM_NAMES = (
    *("snapshots", "attempted", "established", "refused", "timed_out", "failed", "destinations", "ports", "users"),
    *("first_seen", "last_seen", "peak_score"),
)
"""What a group has beside the fields that it is by."""

KEY_NAMES = (
    *("host", "direction", "protocol", "executable", "script", "command", "parent_executable", "user", "login_user"),
    *("unit", "container", "remote_address", "remote_port", "local_port"),
)
NEW_NAMES = (
    *KEY_NAMES,
    *("first_seen", "last_seen", "snapshots", "attempted", "established", "refused", "timed_out", "failed"),
    *("handshake_us_mean", "handshake_us_max", "peak_score"),
)
"""What a new key has."""

_OTHER_NAMES = {
    "destination": "remote_address",
    "exe": "executable",
    "parent": "parent_executable",
    "name": "remote_name",
    "country": "remote_country",
    "network": "remote_network",
    "login_from": "login_address",
}
_TIMES = ("hour", "day", "hour_of_day")
# What need not be counted where it is what is grouped by.
_DISTINCT = {"destinations": {"remote_address"}, "ports": {"port"}, "users": {"login_user", "user"}}
_ORDERS = ("asc", "desc")
_WEEK = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


class Fields(click.ParamType[tuple[str, ...]]):
    """Names of fields to group by."""

    name = "field[,field]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """`user,destination`; under the options' names as well."""
        from detector.store.grouping import FIELDS

        if isinstance(value, tuple):
            return value
        names = [name.strip().replace("-", "_") for name in value.split(",")]
        fields = [_OTHER_NAMES.get(name, name) for name in names]
        if unknown := [name for name in fields if name not in FIELDS]:
            self.fail(f"{unknown[0]!r} is no field; write some of {', '.join(FIELDS)}", param, ctx)
        return tuple(dict.fromkeys(fields))


def first_of(rows: list[Mapping[str, Any]], by: Sequence[str], sort: str | None, limit: int) -> list[Mapping[str, Any]]:
    """The rows that are shown of sorted ones: the first, or the last of what is in the order of time."""
    return rows[-limit:] if sort is None and _of_times(by) else rows[:limit]


def _of_times(by: Sequence[str]) -> bool:
    return set(by) <= {*_TIMES, "weekday"}


def sort_rows(rows: list[Mapping[str, Any]], by: Sequence[str], names: Sequence[str], sort: str | None) -> None:
    """Puts rows in the order asked for: sums the largest first, times the latest first, texts as in a dictionary.

    Without, what is by times alone is in their order, and all else the most attempted first.

    Args:
        rows: what to sort, in place.
        by: the fields that they are by.
        names: of sums and times.
        sort: a name, and `:asc` or `:desc` if it is to be so.
    """
    rows.sort(key=lambda row: tuple(_orderly(row[name], name) for name in by))
    if sort is None:
        if not _of_times(by):
            rows.sort(key=lambda row: (row["attempted"], row["established"]), reverse=True)
        return
    name, _, order = sort.partition(":")
    name = _OTHER_NAMES.get(name, name)
    if name not in {*by, *names} or order not in {"", *_ORDERS}:
        raise click.BadParameter(
            f"{sort!r} is nothing to sort by; write one of {', '.join((*by, *names))}, with :asc or :desc",
            param_hint="'--sort'",
        )
    down = order == "desc" or (not order and name in names)
    known = [row for row in rows if row[name] is not None]
    unknown = [row for row in rows if row[name] is None]
    rows[:] = sorted(known, key=lambda row: _orderly(row[name], name), reverse=down) + unknown


def _orderly(value: Any, name: str) -> tuple[Any, ...]:
    """What values of one field can be compared by."""
    if value is None:
        return (1,)
    if name == "weekday":
        return (0, _WEEK.index(value))
    if hasattr(value, "packed"):
        return (0, value.version, value.packed)
    return (0, value)


def print_groups(by: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """A line for each group; see `group_table`."""
    print_table(*group_table(by, rows))


def group_table(
    by: Sequence[str], rows: Sequence[Mapping[str, Any]], *, times: bool = True
) -> tuple[list[Column], list[tuple[str, ...]]]:
    """Columns and lines: what it is, how often and how it ended, how many it went to, and when if that is wanted."""
    first, firsts = local_column("first seen", [row["first_seen"] for row in rows])
    last, lasts = local_column("last seen", [row["last_seen"] for row in rows])
    distinct = [name for name, fields in _DISTINCT.items() if fields.isdisjoint(by)]
    columns = [
        *(Column(name.replace("_", " "), fold=name not in _TIMES) for name in by),
        Column("connects", fold=True),
        *(Column(name, align="right") for name in distinct),
        *((first, last) if times else ()),
        Column("peak", align="right"),
    ]
    lines = [
        (
            *(_shown(row[name]) for name in by),
            how_many(row),
            *(f"{row[name]:,}" for name in distinct),
            *((begun, ended) if times else ()),
            score_text(row["peak_score"]),
        )
        for row, begun, ended in zip(rows, firsts, lasts, strict=True)
    ]
    return columns, lines


def print_keys(rows: Sequence[Mapping[str, Any]]) -> None:
    """A line for each key: when it was seen first and last, who it is, what it did since."""
    first, firsts = local_column("first seen", [row["first_seen"] for row in rows])
    last, lasts = local_column("last seen", [row["last_seen"] for row in rows])
    columns = [
        first,
        Column("user", fold=True),
        Column("executable", fold=True),
        Column("connection", fold=True),
        Column("connects", fold=True),
        last,
        Column("peak", align="right"),
    ]
    lines: Iterable[tuple[str, ...]] = (
        (begun, *key_cells(row), how_many(row), ended, score_text(row["peak_score"]))
        for row, begun, ended in zip(rows, firsts, lasts, strict=True)
    )
    if len({row["host"] for row in rows}) > 1:
        columns.insert(0, Column("host", fold=True))
        lines = ((row["host"], *line) for row, line in zip(rows, lines, strict=True))
    print_table(columns, lines)


def key_cells(row: Mapping[str, Any]) -> tuple[str, str, str]:
    """Who, with what, and where to, of a key's columns."""
    whole = {"login_address": None, "remote_name": None, **row}
    return who_text(whole), program_text(whole), connection_text(whole)


def how_many(sums: Mapping[str, Any]) -> str:
    """How many connects there were, and how they ended."""
    return connects(sums["attempted"], {each: sums[each.value] for each in Outcome})


def score_text(score: float | None) -> str:
    """A score as tables show it."""
    return "-" if score is None else f"{score:.4f}"


def new_object(row: Mapping[str, Any]) -> dict[str, Any]:
    """A new key under the names of the design."""
    timed = row["handshake_us_total"] > 0 and row["established"] > 0
    derived = {
        "handshake_us_mean": round(row["handshake_us_total"] / row["established"]) if timed else None,
        "handshake_us_max": row["handshake_us_max"] if timed else None,
    }
    return {name: derived[name] if name in derived else row[name] for name in NEW_NAMES}


def group_objects(by: Sequence[str], groups: Iterable[Group]) -> list[dict[str, Any]]:
    """Groups under the names of the design."""
    rows = (group.as_row() for group in groups)
    return [{name: row[name] for name in (*by, *SUM_NAMES)} for row in rows]


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return local(value) if hasattr(value, "tzinfo") else str(value)
