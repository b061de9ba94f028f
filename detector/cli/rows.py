"""Stored rows (one key in one snapshot) as JSON objects and as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from detector.cli.tables import Column, local_column, print_table
from detector.domain import CHANNELS
from detector.row_words import connection_text, connects_text, program_text, who_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


ROW_NAMES = (
    "host",
    "start",
    "end",
    "resolution",
    "snapshots",
    "direction",
    "protocol",
    "executable",
    "script",
    "command",
    "parent_executable",
    "user",
    "login_user",
    "login_address",
    "login_source",
    "session",
    "unit",
    "container",
    "remote_address",
    "remote_port",
    "remote_name",
    "remote_name_source",
    "remote_country",
    "remote_network",
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
    "unusual",
    "channel",
    "novelty",
    *(f"p_{name}" for name in CHANNELS),
    "explanation",
)


def as_object(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row under the names of the design; what is unknown, or was not measured, is None."""
    timed = row["handshake_us_total"] > 0 and row["established"] > 0
    derived = {
        "session": row["session"] or None,
        "handshake_us_mean": round(row["handshake_us_total"] / row["established"]) if timed else None,
        "handshake_us_max": row["handshake_us_max"] if timed else None,
    }
    return {name: derived[name] if name in derived else row[name] for name in ROW_NAMES}


def print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """A line for each row: when, who, with what, where to (->) or from (<-), how often, and how it ended.

    The host is named when there is more than one, and what a row stands for when not all are of snapshots.
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
    if any(row["resolution"] != "snapshot" for row in rows):
        columns.insert(0, Column("of"))
        lines = [(row["resolution"], *line) for row, line in zip(rows, lines, strict=True)]
    if len({row["host"] for row in rows}) > 1:
        columns.insert(0, Column("host", fold=True))
        lines = [(row["host"], *line) for row, line in zip(rows, lines, strict=True)]
    print_table(columns, lines)


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        who_text(row),
        program_text(row),
        connection_text(row),
        connects_text(row),
        "-" if row["score"] is None else f"{row['score']:.4f}",
    )
