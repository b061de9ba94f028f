"""The picture that goes with a digest to chats, which show no charts of HTML."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from detector.notify.charts import MOST_SPANS, Chart

if TYPE_CHECKING:
    from detector.digest import Digest

_DAY = timedelta(days=1)


def digest_chart(digest: Digest) -> Chart | None:
    """The alerts of the period over time; None: there were none, or more hours or days than a picture has room for."""
    bars = digest.alerts.bars
    counts = [sum(bar.counts.values()) for bar in bars]
    if not any(counts) or not 1 < len(bars) <= MOST_SPANS:
        return None
    span = bars[1].start - bars[0].start
    return Chart(
        title=f"alerts, per {'day' if span >= _DAY else 'hour'}",
        starts=tuple(bar.start for bar in bars),
        span_seconds=span.total_seconds(),
        values=tuple(map(float, counts)),
    )
