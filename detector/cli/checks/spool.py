"""Snapshots that wait on disk for the database."""

from __future__ import annotations

import shutil
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from detector.amounts import megabytes, numbered
from detector.cli.checks.check import bad, doubtful, good
from detector.cli.terminal import local
from detector.errors import DetectorError, SpoolError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from detector.cli.checks.check import Check
    from detector.config import Settings

_BEING_STORED = timedelta(minutes=1)


def spool(settings: Settings) -> Iterator[Check]:
    """What waits, and since when; a fault if the database is there all the same."""
    from detector.cli.store import stored
    from detector.collector.spool import spool_state
    from detector.service.collecting import SPOOL

    try:
        state = spool_state(settings.state / SPOOL)
    except SpoolError as fault:
        yield doubtful("spool", fault.message, fault.hint)
        return
    yield from _room(settings)
    if not state.waiting:
        if settings.collector.spool_megabytes:
            yield good("spool", "no snapshot waits for the database")
        else:
            yield doubtful(
                "spool",
                "is turned off: when the database is away, what is counted is lost",
                "set collector.spool_megabytes",
            )
        return
    number = numbered(state.waiting, "snapshot")
    age = "" if state.oldest is None else f", the oldest of {local(state.oldest)}"
    finding = (
        f"{number} of {-(-state.bytes // 1000):,} kB wait{'s' if state.waiting == 1 else ''} for the database{age}"
    )
    try:
        with stored(settings):
            pass
    except DetectorError:
        yield doubtful("spool", finding, "nothing is lost yet: look after the database")
        return
    # A collector stores them one by one, and puts there what takes the database a second.
    if state.oldest is not None and datetime.now(UTC) - state.oldest < _BEING_STORED:
        yield good("spool", finding)
    else:
        yield bad(
            "spool",
            f"{finding}, although that answers",
            "start detector collect; if it runs, see what it says of the database",
        )


def _room(settings: Settings) -> Iterator[Check]:
    """Whether the disk has what the spool may take."""
    with suppress(OSError):
        free, most = shutil.disk_usage(settings.state).free, settings.collector.spool_megabytes * 1_000_000
        if free < most:
            yield doubtful(
                "spool",
                f"{megabytes(free)} are free on the disk of {settings.state}, less than the {megabytes(most)} that "
                "snapshots may take which wait for the database",
                "make room there, or lower collector.spool_megabytes",
            )
