"""Charts of nothing but HTML tables: every mail program shows them, with no picture to load, on light and on dark.

All text is escaped here.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

GOOD, BAD = "#2e9e5b", "#d62839"
"""Legible on white and on black."""
# Seen on both.
_TRACK = "rgba(128,128,128,.22)"
_HEIGHT = 72
_FAINT = "opacity:.72"
_CELLS = 'cellspacing="0" cellpadding="0" style="border-collapse:collapse;width:100%'
_TABLE = f'role="presentation" {_CELLS}'


def columns(stacks: Sequence[Mapping[str, int]], colours: Mapping[str, str], labels: Sequence[str], said: str) -> str:
    """Columns over time, each a stack.

    Args:
        stacks: how much there is of what, the lowest in the stack first, for each column.
        colours: of each of these.
        labels: what stands below, spread over the width: one for each column, or fewer.
        said: the same in words, for whoever does not see it.
    """
    most = max((sum(stack.values()) for stack in stacks), default=0)
    cells = "".join(
        f'<td style="vertical-align:bottom;padding:0 1px;border-bottom:1px solid rgba(128,128,128,.6)">'
        f"{_stack(stack, colours, most)}</td>"
        for stack in stacks
    )
    share = 100 / max(len(labels), 1)
    below = "".join(
        f'<td style="width:{share:.2f}%;font-size:.78em;padding-top:2px;{_FAINT};'
        f'text-align:{_place(number, len(labels), len(stacks))}">{escape(label)}</td>'
        for number, label in enumerate(labels)
    )
    return (
        f'<table role="img" aria-label="{escape(said)}" {_CELLS};table-layout:fixed;height:{_HEIGHT}px">'
        f"<tr>{cells}</tr></table>"
        f'<table {_TABLE};table-layout:fixed"><tr>{below}</tr></table>'
    )


def legend(colours: Mapping[str, str]) -> str:
    """Which colour is what."""
    items = (
        f'<span style="white-space:nowrap;margin-right:1em"><span style="color:{colour}">&#9632;</span> '
        f"{escape(name)}</span>"
        for name, colour in colours.items()
    )
    return f'<p style="margin:.3em 0 .8em;font-size:.85em">{"".join(items)}</p>'


def bar(label: str, figure: str, share: float, colour: str, mark: float | None = None) -> str:
    """One bar with its name above it and its figure at its end.

    Args:
        label: what it is of.
        figure: how much it is, in words.
        share: how long it is, 0 to 1.
        colour: of the bar.
        mark: where a line is drawn across it, 0 to 1; None: nowhere.
    """
    # Where there is no room for both in a line, the figure is in the next one.
    return (
        f'<div style="margin:.6em 0 .2em;font-size:.9em;line-height:1.35;overflow:hidden">'
        f'<span style="overflow-wrap:anywhere">{escape(label)}</span> '
        f'<span style="float:right;{_FAINT}">{escape(figure)}</span></div>'
        f'<table {_TABLE};table-layout:fixed;height:8px;background:{_TRACK}"><tr>{_pieces(share, colour, mark)}'
        "</tr></table>"
    )


def _stack(stack: Mapping[str, int], colours: Mapping[str, str], most: int) -> str:
    # What is there is seen, however little it is beside the most.
    pieces = [
        f'<div style="height:{max(round(_HEIGHT * count / most), 2)}px;background:{colours[name]};'
        'font-size:0;line-height:0">&nbsp;</div>'
        for name, count in stack.items()
        if count
    ]
    return "".join(reversed(pieces)) or '<div style="height:1px;font-size:0;line-height:0">&nbsp;</div>'


def _place(number: int, labels: int, stacks: int) -> str:
    """Each below its column; fewer than these, from edge to edge."""
    if labels in (stacks, 1):
        return "center"
    return "left" if number == 0 else "right" if number == labels - 1 else "center"


def _pieces(share: float, colour: str, mark: float | None) -> str:
    filled = min(max(share, 0.0), 1.0) * 100
    marked = None if mark is None else min(max(mark, 0.0), 1.0) * 100
    cells, begin = [], 0.0
    for end in sorted({filled, 100.0} | (set() if marked is None else {marked})):
        if end <= begin:
            continue
        background = f";background:{colour}" if end <= filled else ""
        line = ";border-right:3px solid currentColor" if end == marked else ""
        cells.append(
            f'<td style="width:{end - begin:.2f}%;height:8px;font-size:0;line-height:0{background}{line}">&nbsp;</td>'
        )
        begin = end
    return "".join(cells)
