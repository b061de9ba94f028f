"""The process that draws a chart: takes it as JSON, gives a PNG, and ends."""

from __future__ import annotations

import io
import resource
import sys
import warnings
from datetime import UTC, datetime
from math import ceil
from typing import TYPE_CHECKING

import msgspec

from detector.notify.charts import Chart

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

_MEMORY_BYTES = 1 << 30
_CPU_SECONDS = 20

# 1,080 pixels: sharp on a phone, where a pixel of the page is three of the screen, and legible there, since 12 points
# are then almost as high as the text around it.
_SIZE_INCHES, _DOTS_PER_INCH = (5.4, 3.3), 200
_POINTS = 12
# Paper stays paper in a dark window: the picture brings its own background.
_PAPER, _INK, _FAINT = "#ffffff", "#24292f", "#d8dee4"
_USUAL, _BAND, _BEYOND, _MARK = "#5b7fa6", "#bfe3c8", "#d1420f", "#f2a516"
# Above this a usual hour would be no higher than the line that it stands on.
_STEEP = 40
# What has room in a line, and for the band to share it.
_LINE, _SHORT_BAND = 46, 18
_DAY_SECONDS = 86_400
_MOST_LABELS = 6
# In days, so that labels stand at round times.
_STEPS = (*(minutes / 1440 for minutes in (1, 5, 10, 15, 30, 60, 120, 180, 240, 360, 720)), 1, 2, 7, 14, 28, 91)


def main() -> None:
    """Reads a chart from standard input, and writes the picture to standard output."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
    chart = msgspec.json.decode(sys.stdin.buffer.read(), type=Chart)
    sys.stdout.buffer.write(picture(chart))


def picture(chart: Chart) -> bytes:
    """The PNG of a chart; the same for the same chart."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Names may hold dollars, which begin a formula, and characters that the font does not have.
    mpl.rcParams.update({"text.parse_math": False, "font.family": "DejaVu Sans", "font.size": _POINTS})
    warnings.filterwarnings("ignore", message=".*missing from font.*")
    figure = Figure(figsize=_SIZE_INCHES, dpi=_DOTS_PER_INCH, facecolor=_PAPER, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    _draw(axes, chart)
    figure.suptitle(_wrapped(chart.title), x=0.015, ha="left", color=_INK, fontsize=_POINTS + 1, fontweight="bold")
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", facecolor=_PAPER, metadata={"Software": None})
    return _reduced(drawn.getvalue())


def _draw(axes: Axes, chart: Chart) -> None:
    span = chart.span_seconds / _DAY_SECONDS
    starts = [_days(start) for start in chart.starts]
    edges = [*starts, starts[-1] + span]
    if chart.high:
        axes.stairs(chart.high, edges, baseline=chart.low, fill=True, color=_BAND, label=f"normal: {_cut(chart.band)}")
    axes.bar(starts, chart.values, width=span * 0.82, align="edge", color=_colours(chart, starts, span), zorder=3)
    if chart.marked is not None:
        _mark(axes, chart, edges[-1] - edges[0])
    _scale(axes, chart)
    _times(axes, edges)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_FAINT)
    axes.grid(axis="y", color=_FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_INK, length=0)
    if chart.high or chart.marked is not None:
        axes.legend(
            loc="upper left",
            bbox_to_anchor=(-0.02, -0.13),
            ncols=2 if len(chart.band) <= _SHORT_BAND else 1,
            frameon=False,
            fontsize=_POINTS - 1,
            labelcolor=_INK,
            handlelength=1.2,
            borderaxespad=0.2,
            borderpad=0.1,
        )


def _days(moment: datetime) -> float:
    """As matplotlib counts time: days since 1970."""
    return moment.timestamp() / _DAY_SECONDS


def _colours(chart: Chart, starts: Sequence[float], span: float) -> list[str]:
    """What is beyond the band stands out; where there is none, what is marked."""
    if chart.high:
        return [_BEYOND if value > high else _USUAL for value, high in zip(chart.values, chart.high, strict=True)]
    if chart.marked is None:
        return [_USUAL] * len(starts)
    first, last = map(_days, chart.marked)
    return [_BEYOND if start < last and start + span > first else _USUAL for start in starts]


def _mark(axes: Axes, chart: Chart, length: float) -> None:
    """The moment, at least so wide that it is seen."""
    assert chart.marked is not None  # noqa: S101 - asked for marked ones alone
    first, last = map(_days, chart.marked)
    axes.axvspan(
        first, max(last, first + length / 120), color=_MARK, alpha=0.45, linewidth=0, zorder=2, label=_cut(chart.mark)
    )
    axes.axvline(first, color=_MARK, linewidth=1.6, zorder=2)


def _scale(axes: Axes, chart: Chart) -> None:
    """Linear, unless what is usual would not be seen."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, SymmetricalLogLocator

    most = max(*chart.values, *chart.high, 0.0)
    usual = max(chart.high, default=0.0) or sorted(chart.values)[len(chart.values) // 2]
    if most > _STEEP * max(usual, 1.0):
        axes.set_yscale("symlog", linthresh=1.0)
        axes.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=1.0))
        axes.set_ylim(0, most * 2)
        axes.set_title("each line is ten times the one below", loc="left", color=_INK, fontsize=_POINTS - 2)
    else:
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
        axes.set_ylim(0, most * 1.08 or 1)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))


def _short(value: float) -> str:
    for size, unit in ((1_000_000, "M"), (1000, "k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def _times(axes: Axes, edges: Sequence[float]) -> None:
    """Times of day, with the date at midnight; days where there are more than four. All in UTC."""
    from matplotlib.ticker import FixedLocator, FuncFormatter

    length = edges[-1] - edges[0]
    step = next((step for step in _STEPS if length / step <= _MOST_LABELS), length / _MOST_LABELS)
    axes.set_xlim(edges[0], edges[-1])
    first = ceil(edges[0] / step)
    axes.xaxis.set_major_locator(FixedLocator([number * step for number in range(first, int(edges[-1] / step) + 1)]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda days, _: _time(days)))
    if step < 1:
        axes.set_xlabel("UTC", color=_INK, fontsize=_POINTS - 2, loc="right", labelpad=0)


def _time(days: float) -> str:
    moment = datetime.fromtimestamp(round(days * _DAY_SECONDS), UTC)
    return f"{moment:%H:%M}" if moment.hour or moment.minute else f"{moment:%b} {moment.day}"


def _wrapped(title: str) -> str:
    """On two lines at most."""
    if len(title) <= _LINE:
        return title
    space = title.rfind(" ", 0, _LINE + 1)
    at = space if space > _LINE // 2 else _LINE
    return f"{title[:at]}\n{_cut(title[at:].strip())}"


def _cut(text: str) -> str:
    return text if len(text) <= _LINE else f"{text[: _LINE - 1]}…"


def _reduced(png: bytes) -> bytes:
    """With a palette of 96 colours: a third of the size, and no difference to be seen."""
    from PIL import Image

    reduced = io.BytesIO()
    image = Image.open(io.BytesIO(png)).convert("RGB")
    image = image.quantize(96, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    image.save(reduced, format="png", optimize=True)
    return reduced.getvalue()


if __name__ == "__main__":
    main()
