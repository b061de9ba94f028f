"""What leaves for a terminal: text made safe, tables, JSON, and messages on standard error."""

from __future__ import annotations

import json
import sys
from datetime import UTC, date, datetime
from io import TextIOBase, TextIOWrapper
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Any, TextIO, cast

import click

from detector.errors import RuleError
from detector.visible import visible

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from detector.errors import DetectorError


def prepare() -> None:
    """Lets any text be written, whatever the encoding of the terminal."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def say(text: str) -> None:
    """One line on standard output."""
    click.echo(visible(text))


def note(text: str) -> None:
    """A remark on standard error, where it does not mix with what a script reads."""
    click.echo(visible(text), err=True)


class _Harmless(TextIOBase):
    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes all of it."""
        return self._stream.write("\n".join(map(visible, text.split("\n"))))

    def flush(self) -> None:
        """Hands on what was written."""
        self._stream.flush()


def harmless(stream: TextIO) -> TextIO:
    """A stream to another one, which each line reaches without what does not print."""
    return cast("TextIO", _Harmless(stream))


def complain(fault: DetectorError) -> None:
    """A fault and its remedy on standard error; faults in rules as compilers print theirs, `path:line: …` first."""
    if isinstance(fault, RuleError):
        lines = [*map(str, fault.faults), f"detector: {fault.hint}"]
    else:
        lines = f"detector: {fault.message}".split("\n") + [f"  {line}" for line in fault.hint.splitlines()]
    for line in lines:
        note(line)


def print_json(objects: Sequence[Mapping[str, Any]] | Mapping[str, Any]) -> None:
    """`objects` as JSON in printable ASCII, which keeps any terminal safe: times in UTC, addresses as text."""
    click.echo(_harmless(json.dumps(objects, ensure_ascii=True, indent=2, default=as_json)))


def json_line(value: Mapping[str, Any]) -> str:
    """An object as one line of JSON, in printable ASCII as well."""
    return _harmless(json.dumps(value, ensure_ascii=True, separators=(",", ":"), default=as_json)) + "\n"


def _harmless(text: str) -> str:
    # JSON leaves the one control character above the others as it is; it can only stand within a string.
    return text.replace("\x7f", "\\u007f")


def as_json(value: object) -> str:
    """A time (in UTC), a day or an address, as JSON has them."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, IPv4Address | IPv6Address):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def local(moment: datetime) -> str:
    """`moment` in the local zone, to the second, in a form that `--since` reads: 2026-11-20 14:00:00+01:00."""
    return moment.astimezone().isoformat(sep=" ", timespec="seconds")
