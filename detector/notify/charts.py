"""Charts: what there was over time, beside what is normal, as a picture (PNG).

A picture is drawn in a process of its own, which ends with it: matplotlib takes 60 MB, which the process that detects
does not keep, and neither a fault in it nor a slow machine may hold up a message.
"""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from datetime import datetime  # noqa: TC003 - msgspec looks it up
from functools import lru_cache
from threading import Lock

import msgspec

from detector.apart import run_apart
from detector.errors import ChartError
from detector.notify.leftovers import PREFIX, clear_once
from detector.visible import visible

MOST_SPANS = 400
"""More have no room in a picture."""
TIMEOUT_SECONDS = 10.0
"""A picture takes a second on a machine that is busy."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_REASON_LIMIT = 200
# An incident is told to several channels at about the same time.
_KEPT = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Bars over time. All text is printable, and on one line."""

    title: str
    """Of what, and in which spans: "connects of alice on bastion-1, per hour"."""
    starts: tuple[datetime, ...]
    """When each span begins, aware, in order; at most MOST_SPANS."""
    span_seconds: float
    """How long each of them is."""
    values: tuple[float, ...]
    """What there was in each, none of them negative."""
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    """The normal band: one of each for a span; empty: none is known. What is above it is coloured."""
    band: str = ""
    """What the band is: "9 of 10 of the same hours in 28 days"."""
    marked: tuple[datetime, datetime] | None = None
    """The period that this is about."""
    mark: str = ""
    """What is marked: "alert 12"."""

    def __post_init__(self) -> None:
        bands = {len(self.low), len(self.high)}
        if not 1 <= len(self.starts) <= MOST_SPANS or len(self.values) != len(self.starts):
            raise ValueError(f"{len(self.values)} values in {len(self.starts)} spans")
        if bands != {0} and bands != {len(self.starts)}:
            raise ValueError(f"a band of {len(self.low)} and {len(self.high)} in {len(self.starts)} spans")


def draw(chart: Chart, *, timeout_seconds: float = TIMEOUT_SECONDS) -> bytes:
    """A chart as PNG, 1,080 pixels wide, of some 20 kB. The last ones are remembered, and drawn once.

    One is drawn at a time, whoever asks.

    Raises:
        ChartError: it could not be drawn, or not in time.
    """
    with _ONE:
        return _drawn(chart, timeout_seconds)


_ONE = Lock()


@lru_cache(maxsize=_KEPT)
def _drawn(chart: Chart, timeout_seconds: float) -> bytes:
    clear_once()
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as folder:
        # It looks for fonts with a program of the system, and for settings of the user, and keeps what it found.
        environment = {"MPLCONFIGDIR": folder, "HOME": folder, "OPENBLAS_NUM_THREADS": "1"}
        try:
            done = run_apart(
                "detector.notify.drawing",
                msgspec.json.encode(chart),
                timeout_seconds=timeout_seconds,
                environment=environment,
            )
        except subprocess.TimeoutExpired:
            raise ChartError(f"was not drawn within {timeout_seconds:g} s") from None
        except OSError as fault:
            raise ChartError(f"no process to draw it: {fault.strerror}") from None
    if done.returncode or not done.stdout.startswith(_SIGNATURE):
        said = done.stderr.decode("utf-8", "backslashreplace").strip().splitlines()
        reason = said[-1] if said else f"the process that draws ended with {done.returncode}, without a word"
        raise ChartError(visible(reason, _REASON_LIMIT))
    return done.stdout
