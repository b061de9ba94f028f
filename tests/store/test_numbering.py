"""Where logins came from, and what destinations are called: stored once, and found again."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, func, select

from detector.domain import Snapshot
from detector.store.engine import reading, writing
from detector.store.numbering import Numbering
from detector.store.tables import connection_keys, destination_names, login_origins
from tests.builders import START, Recorder, count, every_row, stored

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from detector.domain import ConnectionCount

_LOGIN = {"login_address": "203.0.113.7", "login_source": "logind"}
_NAME = {"remote_name": "db.example.org", "remote_name_source": "udp answer of 10.0.0.2"}
_TABLES = (connection_keys, login_origins, destination_names)


def _numbers(engine: Engine) -> list[int]:
    """How many keys, origins and names are stored."""
    with reading(engine) as connection:
        return [connection.scalar(select(func.count()).select_from(table)) or 0 for table in _TABLES]


def _places(engine: Engine) -> list[tuple[Any, ...]]:
    return [(row["seq"], row["key_id"], row["origin_id"], row["name_id"]) for row in every_row(engine)]


def _named(port: int = 22, **values: Any) -> ConnectionCount:
    return count(port=port, **{**_LOGIN, **_NAME, **values})


def test_an_origin_and_a_name_are_stored_once(engine: Engine) -> None:
    """Many counts of many snapshots, and of writers that come later, share one row for each."""
    recorder = Recorder(engine)
    for _ in range(2):
        recorder.snapshot(_named(21), _named(22), count(port=23))
    Recorder(engine, now=recorder.now).snapshot(_named(22), _named(22, session=1, login_address="203.0.113.8"))

    assert _numbers(engine) == [3, 2, 1]
    assert [place[2:] for place in _places(engine)] == [(1, 1), (1, 1), (None, None)] * 2 + [(1, 1), (2, 1)]


def test_what_is_unknown_takes_no_row(engine: Engine) -> None:
    """Counts of which nothing was learnt refer to nothing."""
    Recorder(engine).snapshot(count(), count(port=23, login_source=None))

    assert _numbers(engine) == [2, 0, 0]
    assert _places(engine) == [(1, 1, None, None), (1, 2, None, None)]


def test_a_name_that_changes_is_told_for_each_snapshot(engine: Engine) -> None:
    """A key keeps its number while its destination's name and its login's origin change."""
    recorder = Recorder(engine)
    names = ["a.example", "b.example", None, "a.example"]

    refs = [recorder.snapshot(count(remote_name=name)) for name in names]

    assert [each.count.remote_name for ref in refs for each in stored(engine, ref)] == names
    assert _numbers(engine) == [1, 0, 2]


def test_hosts_do_not_share_them(engine: Engine) -> None:
    """Each host numbers its own."""
    for host in ("bastion-1", "bastion-2"):
        Recorder(engine, host=host).snapshot(_named())

    assert _numbers(engine) == [2, 2, 2]
    assert _places(engine) == [(1, 1, 1, 1)] * 2


def test_unknown_is_not_empty(engine: Engine) -> None:
    """Origins and names that differ in what is unknown are not one."""
    ref = Recorder(engine).snapshot(
        *(count(port=port, remote_name=name) for port, name in enumerate((None, "", "a", "\x00"), start=1)),
        *(count(port=port, remote_country=name) for port, name in enumerate((None, "", "a"), start=5)),
        count(port=8, login_address="::1"),
        count(port=9, login_source="::1"),
    )

    found = [each.count for each in stored(engine, ref)]
    assert [each.remote_name for each in found[:4]] == [None, "", "a", r"\x00"]
    assert [each.remote_country for each in found[4:7]] == [None, "", "a"]
    assert [(each.login_address, each.login_source) for each in found[7:]] == [(ip_address("::1"), None), (None, "::1")]
    assert _numbers(engine) == [9, 2, 5]


def test_names_that_become_equal_are_one(engine: Engine) -> None:
    """A name that must be written out, and one that looks like it, have one number."""
    ref = Recorder(engine).snapshot(
        count(port=1, remote_name="\udcff"), count(port=2, remote_name=r"\udcff"), count(port=3, remote_name="\x00")
    )

    assert [each.count.remote_name for each in stored(engine, ref)] == [r"\udcff", r"\udcff", r"\x00"]
    assert [place[3] for place in _places(engine)] == [1, 1, 2]


def test_counts_that_become_one_keep_what_one_of_them_knew(engine: Engine) -> None:
    """Of two counts of a key and session, the first that has a name gives it."""
    ref = Recorder(engine).snapshot(
        count(), count(remote_name="a.example"), count(remote_name="b.example", login_address="203.0.113.7")
    )

    (only,) = stored(engine, ref)
    assert only.count == count(attempted=3, established=3, remote_name="a.example", login_address="203.0.113.7")


def test_what_was_rolled_back_is_numbered_again(engine: Engine) -> None:
    """After a transaction that failed nothing refers to numbers that were never stored."""
    recorder = Recorder(engine)
    snapshot = Snapshot(host="bastion-1", start=START, end=START + timedelta(seconds=10), counts=(_named(),))

    def write_and_fail() -> None:
        with writing(engine) as connection:
            recorder.writer.write(connection, snapshot)
            raise LookupError

    with pytest.raises(LookupError):
        write_and_fail()
    recorder.writer.forget()
    assert _numbers(engine) == [0, 0, 0]

    ref = recorder.snapshot(_named(login_address="203.0.113.8", remote_name="other.example"), _named(23))

    assert _numbers(engine) == [2, 2, 2]
    assert [each.count.remote_name for each in stored(engine, ref)] == ["other.example", "db.example.org"]
    assert _places(engine) == [(1, 1, 1, 1), (1, 2, 2, 2)]


def test_a_commit_that_was_not_confirmed_leaves_one_of_each(engine: Engine) -> None:
    """The database had it, the answer was lost: neither origin nor name is stored twice, and both are found again."""
    recorder = Recorder(engine)
    snapshot = Snapshot(host="bastion-1", start=START, end=START + timedelta(seconds=10), counts=(_named(),))
    with writing(engine) as connection:
        recorder.writer.write(connection, snapshot)
    recorder.writer.forget()
    with writing(engine) as connection:
        recorder.writer.write(connection, snapshot)
    recorder.now = snapshot.end
    recorder.snapshot(_named())

    assert _numbers(engine) == [1, 1, 1]
    assert _places(engine) == [(1, 1, 1, 1), (2, 1, 1, 1)]


def test_a_full_memory_changes_nothing(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that has forgotten what it met finds it in the store."""
    monkeypatch.setattr(Numbering, "_REMEMBERED", 2)
    recorder = Recorder(engine)
    counts = [_named(port, login_source=str(port), remote_name=f"{port}.example") for port in range(1, 5)]

    refs = [recorder.snapshot(*counts) for _ in range(3)]

    assert _numbers(engine) == [4, 4, 4]
    assert all([each.count for each in stored(engine, ref)] == counts for ref in refs)


def test_more_than_one_statement_takes(engine: Engine) -> None:
    """Thousands of origins and names in one snapshot are numbered, and found again by another writer."""
    counts = [_named(port, login_source=str(port), remote_name=f"{port}.example") for port in range(1, 2502)]
    first = Recorder(engine)
    first.snapshot(*counts)

    ref = Recorder(engine, now=first.now).snapshot(*counts)

    assert _numbers(engine) == [2501, 2501, 2501]
    assert [each.count for each in stored(engine, ref)] == counts


def test_known_ones_cost_no_statement(engine: Engine) -> None:
    """A snapshot of known keys, origins and names needs none of their tables."""
    recorder = Recorder(engine, unpacked=False)
    counts = [_named(port, remote_name=f"{port}.example") for port in range(1, 101)]
    recorder.snapshot(*counts)

    with _statements(engine) as seen:
        recorder.snapshot(*counts)

    touching = {table.name: sum(table.name in each for each in seen) for table in _TABLES}
    assert touching == {"connection_keys": 0, "login_origins": 0, "destination_names": 0}


def test_finding_them_again_takes_the_index(sqlite_engine: Engine) -> None:
    """However many a host has: SQLite, which keeps no statistics, would else go through all of them."""
    recorder = Recorder(sqlite_engine)
    with _statements(sqlite_engine) as seen:
        recorder.snapshot(*(_named(port) for port in range(1, 101)))

    lookups = [each for each in seen if each.startswith("SELECT connection_keys.digest")]
    assert len(lookups) == 1
    with reading(sqlite_engine) as connection:
        values = tuple(b"x" for _ in range(lookups[0].count("?")))
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {lookups[0]}", values).all()
    assert [row.detail for row in plan] == [
        "SEARCH connection_keys USING INDEX sqlite_autoindex_connection_keys_2 (host_id=? AND digest=?)"
    ]


@contextmanager
def _statements(engine: Engine) -> Iterator[list[str]]:
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine, "before_cursor_execute", note)
