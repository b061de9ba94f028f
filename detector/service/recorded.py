"""Rows of a file as a stored past of their own, on which rules can be tested."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from math import log10
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from detector.collector.jsonl import Row, RowLog, count_of
from detector.collector.log_files import LogFile
from detector.collector.log_lines import LineError, Tally
from detector.domain import Observation
from detector.errors import LogError
from detector.store import observations
from detector.store.engine import open_store, writing
from detector.store.migrating import upgrade
from detector.store.packed import read_one
from detector.store.packing_observations import NO_OBSERVATION
from detector.store.snapshots import SnapshotWriter, stored_counts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sqlalchemy import Connection, Engine

    from detector.domain import Snapshot

# Of a snapshot of a host, by key and session.
_Said = dict[tuple[Any, ...], "Mapping[str, Any]"]
# The packed form keeps what a score is made of; of 1 that would be infinite.
_LEAST = 1e-300


@contextmanager
def recorded(path: Path) -> Iterator[Engine]:
    """A database with the snapshots of a file, one object a line as `detector query --json` prints them, with scores.

    Raises:
        LogError: the file cannot be read, or a line of it is refused.
    """
    with tempfile.TemporaryDirectory(prefix="detector-recorded-") as folder, LogFile(str(path)) as file:
        engine = open_store(f"sqlite:///{Path(folder, 'recorded.db')}")
        try:
            upgrade(engine)
            _store(engine, file)
            yield engine
        finally:
            engine.dispose()


def _store(engine: Engine, file: LogFile) -> None:
    # Which finds out how long it is: no more than that is read.
    file.digest()
    tally = Tally()
    log = RowLog([file], tally)
    said = _said(file)
    writers: dict[str, SnapshotWriter] = {}
    with writing(engine) as connection:
        for each in log.snapshots():
            snapshot = each.snapshot
            writer = writers.setdefault(snapshot.host, SnapshotWriter(snapshot.host))
            _write(connection, writer, snapshot, said)
    if tally.refusals:
        raise LogError("\n".join(map(str, tally.refusals)), hint="mend the lines, or leave them out")


def _write(connection: Connection, writer: SnapshotWriter, snapshot: Snapshot, said: _Said) -> None:
    ref = writer.write(connection, snapshot)
    packed = read_one(connection, ref)
    if packed is None:
        return
    observed = []
    for stored in stored_counts(connection, ref.host_id, packed):
        place = (snapshot.host, snapshot.start, stored.count.key, stored.count.session)
        values = said.get(place, NO_OBSERVATION)
        observed.append(Observation(key_id=stored.key_id, session=stored.count.session, **values))
    observations.write(connection, ref, packed, observed)


def _said(file: LogFile) -> _Said:
    """What detection said of the rows. A line that is not understood is refused when it is read as a count."""
    decode = msgspec.json.Decoder(Row).decode
    said: _Said = {}
    for _, line in file.lines(Tally()):
        try:
            row = decode(line)
            count = count_of(row)
        except (LineError, msgspec.MsgspecError):
            continue
        values = {name: getattr(row, name) for name in NO_OBSERVATION}
        if values["score"] is not None and values["surprise"] is None:
            values["surprise"] = -log10(max(1 - values["score"], _LEAST))
        said[row.host, row.start, count.key, count.session] = values
    return said
