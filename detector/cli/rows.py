"""Stored rows (one key in one snapshot) as JSON objects and as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from detector.cli.terminal import Column, local_column, print_table
from detector.domain import Direction, Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import RowMapping

_NAMES = (
    "host",
    "start",
    "end",
    "direction",
    "protocol",
    "executable",
    "command",
    "user",
    "login_user",
    "session",
    "unit",
    "container",
    "remote_address",
    "remote_port",
    "local_port",
    "attempted",
    "established",
    "refused",
    "timed_out",
    "failed",
    "handshake_us_mean",
    "handshake_us_max",
    "first_seen",
    "score",
    "surprise",
    "channel",
    "novelty",
    "p_novelty",
    "p_volume",
    "p_forest",
    "explanation",
)


def as_object(row: RowMapping) -> dict[str, Any]:
    """A row under the names of the design; what is unknown, or was not measured, is None."""
    timed = row["handshake_us_total"] > 0 and row["established"] > 0
    derived = {
        "session": row["session"] or None,
        "handshake_us_mean": round(row["handshake_us_total"] / row["established"]) if timed else None,
        "handshake_us_max": row["handshake_us_max"] if timed else None,
    }
    return {name: derived[name] if name in derived else row[name] for name in _NAMES}


def print_rows(rows: Sequence[RowMapping]) -> None:
    """A line for each row: when, who, with what, where to (->) or from (<-), how often, and how it ended.

    The host is named when there is more than one.
    """
    end, times = local_column("end", [row["end"] for row in rows])
    columns = [
        end,
        Column("user", fold=True),
        Column("executable", fold=True),
        Column("connection", fold=True),
        Column("connects", fold=True),
        Column("score", align="right"),
    ]
    lines = [(time, *_cells(row)) for time, row in zip(times, rows, strict=True)]
    if len({row["host"] for row in rows}) > 1:
        columns.insert(0, Column("host", fold=True))
        lines = [(row["host"], *line) for row, line in zip(rows, lines, strict=True)]
    print_table(columns, lines)


def _cells(row: RowMapping) -> tuple[str, ...]:
    return (
        _who(row["user"], row["login_user"]),
        row["executable"] or row["command"] or "-",
        _connection(row),
        connects(row["attempted"], {each: row[each.value] for each in Outcome}),
        "-" if row["score"] is None else f"{row['score']:.4f}",
    )


def _who(user: str | None, login_user: str | None) -> str:
    if login_user is None or login_user == user:
        return user or "-"
    return f"{login_user} as {user or '?'}"


def _connection(row: RowMapping) -> str:
    address = row["remote_address"]
    if row["direction"] == Direction.INBOUND:
        return f":{row['local_port']} <- {address}"
    return f"-> [{address}]:{row['remote_port']}" if address.version == 6 else f"-> {address}:{row['remote_port']}"  # noqa: PLR2004


def connects(attempted: int, ended: Mapping[Outcome, int]) -> str:
    """How many connects there were and how they ended, in words: "3 established, 1 timed out".

    The number of attempts is said when it is not the sum of the ends: inbound connections have none, and an end may
    fall into a later snapshot than its attempt.
    """
    words = ", ".join(f"{number} {each.value.replace('_', ' ')}" for each, number in ended.items() if number)
    if attempted in {0, sum(ended.values())}:
        return words or "-"
    return f"{attempted} attempted: {words}" if words else f"{attempted} attempted"
