"""The curves of a judgement as one picture (PNG), for where a page has no room."""

from __future__ import annotations

import io
import math
import warnings
from typing import TYPE_CHECKING

from detector.evaluation.curves import COLOURS, curves, heading
from detector.visible import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from detector.domain import Severity
    from detector.evaluation.curves import Curves
    from detector.evaluation.results import Result

_INCHES, _DOTS_PER_INCH = (5.2, 3.6), 110
_TICKS = 5
_FEW = 20
_NAME_LIMIT = 40


def picture(parts: Sequence[tuple[str, Result]], least: Severity) -> bytes:
    """The PNG of results, a row of three figures each; rules below `least` count for nothing."""
    # Here: 60 MB, and half a second, for who wants a picture alone.
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [(heading(title, result), curves(result, least)) for title, result in parts]
    across = len(rows[0][1])
    # Names may hold dollars, which begin a formula, and characters that the font does not have.
    with mpl.rc_context({"text.parse_math": False, "font.family": "DejaVu Sans"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*missing from font.*")
        size = (_INCHES[0] * across, _INCHES[1] * len(rows))
        figure = Figure(figsize=size, dpi=_DOTS_PER_INCH, facecolor="white", layout="constrained")
        FigureCanvasAgg(figure)
        for part, (title, of_row) in zip(figure.subfigures(len(rows), 1, squeeze=False)[:, 0], rows, strict=True):
            part.suptitle(visible(title), x=0.01, ha="left", fontweight="bold")
            for axes, each in zip(part.subplots(1, across), of_row, strict=True):
                _draw(axes, each)
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png", metadata={"Software": None})
    return drawn.getvalue()


def _draw(axes: Axes, of: Curves) -> None:
    for number, (name, points) in enumerate(of.lines):
        there = [(x, y) for x, y in points if not math.isnan(y)]
        axes.plot(
            [x for x, _ in there],
            [y for _, y in there],
            color=COLOURS[number % len(COLOURS)],
            linewidth=2.5 if number == 0 else 1,
            label=visible(name, _NAME_LIMIT),
            # A line along an axis is seen, and so is a single point.
            clip_on=False,
            zorder=3,
            marker="o" if len(there) <= _FEW else None,
            markersize=4,
        )
    axes.set(xlabel=of.across, ylabel=of.up, xlim=(0, of.furthest), ylim=(0, 1.02))
    axes.set_title(of.title, fontsize="medium", loc="left")
    ticks = [number * of.furthest / (_TICKS - 1) for number in range(_TICKS)]
    axes.set_xticks(ticks, [of.mark(each) for each in ticks])
    axes.grid(color="#dddddd")
    axes.spines[["top", "right"]].set_visible(False)
    if len(of.lines) > 1:
        axes.legend(fontsize="small", frameon=False)
