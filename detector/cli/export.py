"""`detector export`: rows and alerts as OCSF events, for other systems."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from detector.amounts import numbered
from detector.cli.parameters import Moment, check_period
from detector.cli.terminal import json_line, note
from detector.errors import DetectorError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

    from sqlalchemy import Engine

    from detector.config import Settings
    from detector.store.filters import HistoryFilter

_EVIDENCE_ROWS = 20


@click.command()
@click.option(
    "--what",
    type=click.Choice(["observations", "alerts"]),
    default="observations",
    show_default=True,
    help="Rows with what detection said of them (Network Activity), or alerts (Detection Finding).",
)
@click.option("--since", type=Moment(), help="Only what came after: 7d, 2h, 2026-11-20, '2026-11-20 14:00'.")
@click.option("--until", type=Moment(), help="Only what came before, written as for --since.")
@click.option("--host", metavar="PATTERN", help="Only of hosts with this name; * stands for any characters.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write to this file, which is there when it is whole, for its owner alone.",
)
@click.pass_obj
def export(settings: Settings, /, what: str, output: Path | None, **criteria: Any) -> None:
    """Write rows or alerts as OCSF events, one JSON object a line, the oldest first.

    What is stored when it begins is written, however much it is, host by host. Alerts are written as they stand, with
    at most 20 of the rows behind each.

    \b
    Examples:
      detector export --since 24h
      detector export --since 2026-11-01 --until 2026-12-01 --host 'web-*' --output november.jsonl
      detector export --what alerts --since 7d
    """
    from detector.store.engine import open_store
    from detector.store.filters import HistoryFilter
    from detector.store.migrating import check_current

    check_period(criteria["since"], criteria["until"])
    engine = open_store(settings.database_url)
    try:
        check_current(engine)
        events = _events(engine, what, HistoryFilter(**criteria))
        if output is None:
            _write(events, sys.stdout)
        else:
            with _whole_file(output) as file:
                written = _write(events, file)
            note(f"{output}: {numbered(written, 'event')}")
    finally:
        engine.dispose()


def _events(engine: Engine, what: str, wanted: HistoryFilter) -> Iterator[dict[str, Any]]:
    from detector.cli import ocsf
    from detector.store.stream import every_alert, every_row

    if what == "alerts":
        for each in every_alert(engine, wanted, _EVIDENCE_ROWS):
            yield ocsf.detection_finding(each.alert, each.rows)
    else:
        for row in every_row(engine, wanted):
            yield ocsf.network_activity(row)


def _write(events: Iterator[dict[str, Any]], file: TextIO) -> int:
    written = 0
    for event in events:
        file.write(json_line(event))
        written += 1
    # Here, where a reader who went away is noticed.
    file.flush()
    return written


@contextmanager
def _whole_file(path: Path) -> Iterator[TextIO]:
    """A file that takes its name when it is whole, and is its owner's alone; else nothing is left of it.

    Raises:
        DetectorError: it cannot be written.
    """
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as fault:
        raise DetectorError(
            f"{path}: {fault.strerror}", hint="name a file that can be written: --output FILE"
        ) from fault
    begun = Path(name)
    try:
        with open(descriptor, "w", encoding="ascii") as file:  # noqa: PTH123  a descriptor
            yield file
            file.flush()
            os.fsync(descriptor)
        begun.replace(path)
    except OSError as fault:
        begun.unlink(missing_ok=True)
        raise DetectorError(
            f"{path}: {fault.strerror}", hint="name a file that can be written: --output FILE"
        ) from fault
    except BaseException:
        begun.unlink(missing_ok=True)
        raise
