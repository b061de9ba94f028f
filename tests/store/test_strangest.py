"""The strangest rows of the past."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from detector.store.engine import reading
from detector.store.filters import HistoryFilter
from detector.store.strangest import strangest_rows
from tests.builders import START, Recorder, count, observe

if TYPE_CHECKING:
    from sqlalchemy import Engine


def test_the_strangest_come_first(engine: Engine) -> None:
    """Over all hosts and snapshots, those of the period that match and were scored; ties too."""
    for host, offset in (("one", 0.0), ("two", 0.5)):
        recorder = Recorder(engine, host=host)
        for number in range(3):
            ref = recorder.snapshot(count("10.0.4.1", 22), count("10.0.4.2", 22), count("10.0.4.3", 22, user="bob"))
            surprise = number + offset
            said = {"score": 1 - 10**-surprise, "surprise": surprise}
            observe(engine, ref, {1: said, 3: said})

    with reading(engine) as connection:
        found = strangest_rows(connection, HistoryFilter(min_score=0.0), 3)
        of_bob = strangest_rows(connection, HistoryFilter(min_score=0.0, user="bob", host="one"), 10)
        early = strangest_rows(connection, HistoryFilter(min_score=0.0, until=START + timedelta(seconds=10)), 1)
        nothing = strangest_rows(connection, HistoryFilter(min_score=0.0, since=START + timedelta(days=1)), 10)

    assert [(row["host"], row["surprise"]) for row in found] == [("two", 2.5), ("two", 2.5), ("one", 2.0)]
    assert [(row["user"], row["surprise"]) for row in of_bob] == [("bob", 2.0), ("bob", 1.0), ("bob", 0.0)]
    assert [(row["host"], row["seq"]) for row in early] == [("two", 1)]
    assert nothing == []
