"""Detection, with its figures served where that is wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector.service.detecting import detect
from detector.store.engine import open_store

if TYPE_CHECKING:
    from threading import Event

    from detector.config import Settings
    from detector.service.detecting import Reporter

# A question that takes longer is not worth its answer.
_STATEMENT_SECONDS = 10


def detect_watched(settings: Settings, stop: Event, report: Reporter) -> None:
    """See `detecting.detect`; meanwhile answers at `metrics.listen`.

    Raises:
        ConfigError: nothing can listen there.
    """
    if settings.metrics.address is None:
        detect(settings, stop, report)
        return
    # Here, since those who want no figures need not hold what it takes.
    from detector.service.metrics.exporting import Counted
    from detector.service.metrics.serving import served

    engine = open_store(settings.database_url, statement_seconds=_STATEMENT_SECONDS)
    with served(settings, engine, report) as registry:
        detect(settings, stop, Counted(report, registry))
