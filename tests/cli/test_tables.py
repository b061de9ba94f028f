"""Tables on terminals, whatever their width."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import termios
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout, suppress
from io import StringIO
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from detector.cli.alerts_watch import _View
from detector.cli.tables import Column, fitting_table, height_of, print_table
from tests.cli.terminals import Terminal
from tests.hostile import TEXT
from tests.notify.samples import enqueue

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.console import RenderableType
    from sqlalchemy import Engine

_COLUMNS = (Column("id", align="right"), Column("state"), Column("host", fold=True), Column("summary", below=True))
_SENTENCE = (
    "alice (ssh from 203.0.113.7), via /usr/bin/nc.openbsd, tried 1,499 ports on 10.0.4.12 in 4 min, 1,498 refused."
)


def _lines(shown: RenderableType, width: int) -> list[str]:
    out = StringIO()
    Console(file=out, width=width).print(shown)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def _terminal(rows: Sequence[Sequence[str]], width: int) -> str:
    """What a terminal of this width is sent."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    with ThreadPoolExecutor(1) as reader:
        # Beside it: a terminal holds back who writes faster than is read.
        shown = reader.submit(_all_of, ours)
        with os.fdopen(theirs, "w", encoding="utf-8") as out, redirect_stdout(out):
            print_table(_COLUMNS, rows)
        text = shown.result()
    os.close(ours)
    return text


def _all_of(terminal: int) -> str:
    read = b""
    # Ends with EIO when the other end is closed.
    with suppress(OSError):
        while more := os.read(terminal, 65_536):
            read += more
    return read.decode()


def test_sentences_stand_below_where_there_is_no_room() -> None:
    """On a wide terminal beside the others, folded; on a narrow one under them, as wide as it is."""
    row = ("12", "open", "bastion-1", _SENTENCE)
    wide = _lines(fitting_table(_COLUMNS, [row], 120), 120)
    assert wide[0].split() == ["id", "state", "host", "summary"]
    assert wide[1].startswith("12  open   bastion-1  alice (ssh from")
    assert _lines(fitting_table(_COLUMNS, [row], 70), 70) == [
        "id  state  host",
        "12  open   bastion-1",
        "    alice (ssh from 203.0.113.7), via /usr/bin/nc.openbsd, tried 1,499",
        "    ports on 10.0.4.12 in 4 min, 1,498 refused.",
    ]


def test_short_sentences_stay_beside() -> None:
    """And what is empty takes no line below."""
    assert _lines(fitting_table(_COLUMNS, [("1", "open", "a", "short")], 40), 40)[1] == " 1  open   a     short"
    rows = [("1", "open", "a", "-"), ("2", "open", "b", _SENTENCE)]
    assert _lines(fitting_table(_COLUMNS, rows, 60), 60)[:3] == ["id  state  host", " 1  open   a", " 2  open   b"]


@given(st.lists(st.tuples(*[TEXT] * len(_COLUMNS)), min_size=1, max_size=3), st.integers(1, 250))
def test_nothing_is_cut(rows: list[tuple[str, ...]], width: int) -> None:
    """Whatever stands in it, and however narrow a terminal: each character that prints is there."""
    shown = _terminal(rows, width)
    letters = {each for row in rows for cell in row for each in cell if each.isprintable() and not each.isspace()}
    assert letters <= set(shown)


def test_no_line_loses_its_end() -> None:
    """Columns that may not be folded and have no room make the line longer: the terminal breaks it."""
    row = ("1", "x" * 70, "h" * 30, "short and whole")
    shown = "".join(_terminal([row], 80).split())
    assert all(cell.replace(" ", "") in shown for cell in row)


def test_alerts_are_read_on_eighty_columns(sqlite_engine: Engine, tmp_path: Path) -> None:
    """Rule and summary of each stand in lines of their own."""
    enqueue(sqlite_engine, titles=("A rule with a title of many words, as they are",))
    file = tmp_path / "detector.toml"
    file.write_text(f'database.url = "{sqlite_engine.url}"\n')
    with Terminal("--config", file, "alerts", "list", columns=80) as terminal:
        terminal.expect("    A rule with a title of many words, as they are")


def test_the_newest_alerts_stay_in_sight(sqlite_engine: Engine) -> None:
    """Of more than a terminal has room for, `alerts watch` shows the last ones, whole, however high each is."""
    enqueue(sqlite_engine, titles=[f"Rule {number}" for number in range(12)])
    view = _View(sqlite_engine, None, 30)
    view.look()
    for width, height in ((200, 8), (80, 12), (40, 24)):
        drawn = view.draw(width, height, None)
        assert height_of(drawn, width) <= height
        assert "Rule 11" in "\n".join(_lines(drawn, width))
    assert "Rule 11" in "\n".join(_lines(view.draw(40, 2, None), 40))
