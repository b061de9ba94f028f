"""The forms that rows are written in for other programs: JSON, JSON lines, CSV."""

from __future__ import annotations

import csv
import sys
from io import StringIO
from typing import TYPE_CHECKING, Any

import click

from detector.cli.terminal import as_json, json_line, print_json
from detector.visible import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

TABLE, JSON, JSON_LINES, CSV = FORMATS = ("table", "json", "jsonl", "csv")
# What spreadsheets take for the beginning of a formula, in the width of other scripts too.
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def format_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command `--format` and its short form `--json`; see `chosen_format`."""
    command = click.option("--json", "as_json", is_flag=True, help="Short for --format json.")(command)
    return click.option(
        "--format",
        "form",
        type=click.Choice(FORMATS),
        help="How it is written: a table (the default), a JSON list, JSON lines, or CSV; all but the table with all"
        " fields, and times in UTC.",
    )(command)


def chosen_format(form: str | None, *, as_json: bool) -> str:
    """The format that was asked for."""
    if as_json and form not in {None, JSON}:
        raise click.UsageError(f"--json and --format {form} are two formats: write one of them")
    return JSON if as_json else form or TABLE


def write_rows(form: str, names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes objects that have these names, in a format that is not the table."""
    if form == JSON:
        print_json(list(rows))
    elif form == JSON_LINES:
        for row in rows:
            click.echo(json_line(row), nl=False)
    else:
        for line in csv_lines(names, rows):
            sys.stdout.write(line)


def csv_lines(names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    r"""Lines of CSV, with a header; what is unknown is empty.

    Text is quoted, without control characters (`\x1b`, `\n`), and begins with an apostrophe where a spreadsheet would
    take it for a formula.
    """
    buffer = StringIO()
    writer = csv.writer(buffer, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\r\n")
    for values in (names, *([row[name] for name in names] for row in rows)):
        writer.writerow([_cell(value) for value in values])
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, int | float):
        return "" if value is None else value
    text = visible(value if isinstance(value, str) else as_json(value))
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text
