"""Tables on a terminal: folded to its width, never cut, and each cell made safe."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from detector.cli.terminal import local
from detector.visible import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

# Wider than any row: what goes to a pipe or a file is never folded or cut.
_UNFOLDED = 100_000
# The narrowest that tables fold to; narrower terminals break the lines themselves.
_NARROWEST = 80
# Sentences in a narrower column are a ribbon that nobody reads.
_READABLE = 50
_BETWEEN = 2
_INDENT = 4
_OFFSET_AT = len("2026-11-20 14:00:00")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table; `right` for numbers."""

    title: str
    align: Literal["left", "right"] = "left"
    fold: bool = False
    """May be broken over lines on a narrow terminal."""
    below: bool = False
    """Sentences: where a terminal has no room for them beside the others, they stand on lines of their own below."""


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
    """A table on standard output, each cell escaped; folded to the terminal, never cut."""
    from rich.console import Console, ConsoleDimensions

    console = Console(file=sys.stdout)
    shown = _Shown(columns, rows)
    width = max(console.width, _NARROWEST, shown.narrowest) if sys.stdout.isatty() else _UNFOLDED
    # Both: of a terminal that can do nothing rich takes neither alone.
    console.size = ConsoleDimensions(width, console.height)
    console.print(shown.fitting(width))


def fitting_table(columns: Sequence[Column], rows: Iterable[Sequence[str]], width: int) -> RenderableType:
    """The same for a view of the whole terminal."""
    return _Shown(columns, rows).fitting(width)


def local_column(title: str, moments: Sequence[datetime]) -> tuple[Column, list[str]]:
    """A column of times in the local zone. Its offset stands in the title, unless it changed in between."""
    texts = [local(moment) for moment in moments]
    offsets = {text[_OFFSET_AT:] for text in texts}
    if len(offsets) != 1:
        return Column(title), texts
    return Column(f"{title} ({offsets.pop()})"), [text[:_OFFSET_AT] for text in texts]


def height_of(shown: RenderableType, width: int) -> int:
    """How many lines it takes on a terminal."""
    from rich.console import Console

    return len(Console(width=width).render_lines(shown, pad=False))


class _Shown:
    def __init__(self, columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
        from rich.cells import cell_len

        self._columns = tuple(columns)
        self._rows = [tuple(map(visible, row)) for row in rows]
        cells = zip(*self._rows, strict=True) if self._rows else ((),) * len(self._columns)
        self._widths = [
            max(map(cell_len, (column.title, *values))) for column, values in zip(self._columns, cells, strict=True)
        ]
        self._titles = [cell_len(column.title) for column in self._columns]

    @property
    def narrowest(self) -> int:
        """So many characters it takes, however much is folded."""
        columns = zip(self._columns, self._widths, self._titles, strict=True)
        return sum((title if each.fold else width) + _BETWEEN for each, width, title in columns if not each.below)

    def fitting(self, width: int) -> RenderableType:
        """As a table, or with what has no room in it below each line."""
        sentences = [size for each, size in zip(self._columns, self._widths, strict=True) if each.below]
        beside = sum(self._widths) - sum(sentences) + _BETWEEN * len(self._columns)
        if sum(min(size, _READABLE) for size in sentences) > width - beside and sentences:
            return self._apart()
        return self._table()

    def _table(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, padding=(0, _BETWEEN, 0, 0))
        for column, title in zip(self._columns, self._titles, strict=True):
            table.add_column(
                Text(column.title),
                justify=column.align,
                overflow="fold",
                no_wrap=not (column.fold or column.below),
                min_width=title,
                header_style="bold",
            )
        for row in self._rows:
            table.add_row(*map(Text, row))
        return table

    def _apart(self) -> RenderableType:
        from rich.console import Group
        from rich.padding import Padding
        from rich.text import Text

        lines: list[RenderableType] = [self._line([column.title for column in self._columns], "bold")]
        for row in self._rows:
            lines.append(self._line(row))
            for column, cell in zip(self._columns, row, strict=True):
                if column.below and cell not in ("", "-"):
                    lines.append(Padding(Text(cell, overflow="fold"), (0, 0, 0, _INDENT)))
        return Group(*lines)

    def _line(self, cells: Sequence[str], style: str = "") -> Text:
        """What stands beside one another."""
        from rich.cells import cell_len
        from rich.text import Text

        parts = []
        for column, cell, width in zip(self._columns, cells, self._widths, strict=True):
            if not column.below:
                room = " " * (width - cell_len(cell))
                parts.append(f"{room}{cell}" if column.align == "right" else f"{cell}{room}")
        return Text((" " * _BETWEEN).join(parts).rstrip(), style=style, overflow="fold")
