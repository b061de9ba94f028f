"""Writing snapshots and reading them back."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import fields, replace
from datetime import timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from detector.domain import ConnectionCount, ConnectionKey, Direction, Losses, Protocol, Snapshot
from detector.errors import StoreError
from detector.store import cursors
from detector.store.columns import storable
from detector.store.engine import reading, writing
from detector.store.numbering import Numbering, digest
from detector.store.snapshots import SnapshotWriter
from detector.store.tables import connection_keys, hosts, packed_counts, snapshots
from tests.builders import START, Recorder, count, stored
from tests.examples import examples

if TYPE_CHECKING:
    from sqlalchemy import Engine, Table

_SUMMED = ("attempted", "established", "refused", "timed_out", "failed", "handshake_us_total")


def _number(engine: Engine, table: Table) -> int:
    with reading(engine) as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


def test_a_snapshot_comes_back_as_it_was(engine: Engine) -> None:
    """Counts of both directions, all protocols and address families, with unknown names and addresses, are read as they
    were written.
    """
    counts = (
        count("10.0.4.12", 22, handshake_us_total=900, handshake_us_max=600, attempted=2, established=1, refused=1),
        count("fd00::1", 443, executable=None, command=None, login_user=None, unit=None, session=7),
        count("10.0.4.9", 22, direction="inbound", user=None, container="web"),
        count("10.0.4.12", 22, executable="", timed_out=3, failed=4, attempted=7),
        count("10.0.4.12", 53, protocol="udp", script="/opt/ask.py", parent_executable="/usr/bin/bash"),
        count("fd00::1", None, protocol="icmp", login_address="2001:db8::7", login_source="sshd's connection"),
        count(None, None, protocol="packet", attempted=2, failed=1),
        count(None, None, attempted=70_000, refused=70_000),
        count("192.0.2.1", 443, remote_name="a.example", remote_name_source="udp answer of 10.0.0.2", session=3),
        count("192.0.2.2", 443, remote_country="NL", remote_network="Example B.V.", login_address="203.0.113.7"),
    )

    ref = Recorder(engine).snapshot(*counts)

    found = list(stored(engine, ref))
    assert {each.count for each in found} == set(counts)
    assert {each.first_seen for each in found} == {START}
    assert [each.key_id for each in found] == [*range(1, 11)]


def test_losses_are_kept(engine: Engine) -> None:
    """Each kind of loss is stored with its snapshot."""
    losses = Losses(**{field.name: number for number, field in enumerate(fields(Losses), start=1)})

    Recorder(engine).snapshot(losses=losses)

    with reading(engine) as connection:
        row = connection.execute(select(snapshots)).mappings().one()
    assert {field.name: row[f"lost_{field.name}"] for field in fields(Losses)} == {
        field.name: getattr(losses, field.name) for field in fields(Losses)
    }


def test_whole_or_not_at_all(engine: Engine) -> None:
    """A transaction that fails after the snapshot was written leaves neither it, nor its keys, nor its host."""
    snapshot = Snapshot(host="bastion-1", start=START, end=START + timedelta(seconds=10), counts=(count(),))
    writer = SnapshotWriter("bastion-1")

    def write_and_fail() -> None:
        with writing(engine) as connection:
            writer.write(connection, snapshot)
            raise LookupError

    with pytest.raises(LookupError):
        write_and_fail()
    writer.forget()

    assert [_number(engine, table) for table in (hosts, snapshots, connection_keys, packed_counts)] == [0, 0, 0, 0]
    with writing(engine) as connection:
        ref = writer.write(connection, snapshot)
    assert ref.seq == 1
    assert [each.count for each in stored(engine, ref)] == [count()]


def test_a_key_is_stored_once(engine: Engine) -> None:
    """A key keeps its number and first appearance."""
    recorder = Recorder(engine)
    recorder.snapshot(count())
    recorder.snapshot(count(port=23))
    recorder.snapshot(count(), count(port=23))

    assert _number(engine, connection_keys) == 2
    with reading(engine) as connection:
        rows = connection.execute(select(connection_keys).order_by(connection_keys.c.key_id)).mappings().all()
    assert [row["first_seen"] for row in rows] == [START, START + timedelta(seconds=10)]


def test_another_session_is_the_same_key(engine: Engine) -> None:
    """A new login does not make a new key; its counts stay apart."""
    ref = Recorder(engine).snapshot(count(session=1), count(session=2))

    assert [(each.key_id, each.count.session) for each in stored(engine, ref)] == [(1, 1), (1, 2)]


def test_equal_keys_are_one(engine: Engine) -> None:
    """Counts that have become equal in all names are added up; the longest handshake stays the longest."""
    ref = Recorder(engine).snapshot(
        count(attempted=2, refused=2),
        count(attempted=3, established=3, handshake_us_total=500, handshake_us_max=300),
        count(attempted=1, timed_out=1, handshake_us_max=200),
    )

    assert [each.count for each in stored(engine, ref)] == [
        count(attempted=6, refused=2, established=3, timed_out=1, handshake_us_total=500, handshake_us_max=300)
    ]


def test_a_new_writer_goes_on(engine: Engine) -> None:
    """After a restart numbers of snapshots and keys go on where they were, and known keys are found again."""
    Recorder(engine).snapshot(count(), count(port=23))

    ref = Recorder(engine, now=START + timedelta(seconds=10)).snapshot(count(port=23), count(port=24))

    assert ref.seq == 2
    assert [(each.key_id, each.count.key.remote_port) for each in stored(engine, ref)] == [(2, 23), (3, 24)]


def test_more_keys_than_one_statement_takes(engine: Engine) -> None:
    """Thousands of keys in one snapshot are numbered and found again by another writer."""
    counts = [count(port=port) for port in range(1, 2501)]
    Recorder(engine).snapshot(*counts)

    ref = Recorder(engine, now=START + timedelta(seconds=10)).snapshot(*counts)

    assert _number(engine, connection_keys) == 2500
    assert len(list(stored(engine, ref))) == 2500


def test_a_full_memory_of_keys_changes_nothing(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that has forgotten its keys finds them in the store."""
    monkeypatch.setattr(Numbering, "_REMEMBERED", 2)
    recorder = Recorder(engine)
    for _ in range(3):
        recorder.snapshot(count(port=21), count(port=22), count(port=23))

    assert _number(engine, connection_keys) == 3


def test_hosts_do_not_share(engine: Engine) -> None:
    """Each host has its own numbers for snapshots and keys."""
    one = Recorder(engine, host="bastion-1").snapshot(count())
    two = Recorder(engine, host="bastion-2").snapshot(count())

    assert (one.seq, two.seq) == (1, 1)
    assert one.host_id != two.host_id
    assert [each.key_id for each in stored(engine, two)] == [1]


def test_an_empty_snapshot_counts(engine: Engine) -> None:
    """An interval without connects is stored: silence is an observation too."""
    ref = Recorder(engine).snapshot()

    assert _number(engine, snapshots) == 1
    assert list(stored(engine, ref)) == []


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("/tmp/a\x00b", r"/tmp/a\x00b"),
        ("/tmp/\udcff", r"/tmp/\udcff"),
        ("/tmp/\x1b[31m\n\u202e", "/tmp/\x1b[31m\n\u202e"),
        ("/opt/größe/日本", "/opt/größe/日本"),
        ("/tmp/" + "x" * 5000, "/tmp/" + "x" * 5000),
        ("'; DROP TABLE hosts; --%_\\", "'; DROP TABLE hosts; --%_\\"),
    ],
)
def test_any_text_is_stored(engine: Engine, text: str, kept: str) -> None:
    """Names as attackers choose them are kept as they are; what a database cannot hold is written out."""
    ref = Recorder(engine).snapshot(count(executable=text, command=text, user=text, unit=text))

    key = next(iter(stored(engine, ref))).count.key
    assert {key.executable, key.command, key.user, key.unit} == {kept}


def test_names_that_become_equal_are_one(engine: Engine) -> None:
    """A name that must be written out, and one that looks like it, do not spoil the snapshot."""
    ref = Recorder(engine).snapshot(count(executable="\udcff"), count(executable=r"\udcff"), count(executable="\x00"))

    assert [(each.count.key.executable, each.count.attempted) for each in stored(engine, ref)] == [
        (r"\udcff", 2),
        (r"\x00", 1),
    ]


@given(st.text(st.characters(categories=None)))
def test_what_is_storable_stays(text: str) -> None:
    """Writing out is done once: what comes out is Unicode without NUL, and is left alone from then on."""
    once = storable(text)

    assert "\x00" not in once
    assert once.encode().decode() == once == storable(once)


_KEY = count().key


def _digest(key: ConnectionKey) -> bytes:
    return digest(getattr(key, field.name) for field in fields(key))


_NAMES = ["executable", "script", "parent_executable", "command", "user", "login_user", "unit", "container"]


@pytest.mark.parametrize("name", _NAMES)
def test_unknown_is_not_empty(name: str) -> None:
    """A digest tells an unknown name from an empty one."""
    names: list[Any] = [None, "", "\xff", "None"]

    assert len({_digest(replace(_KEY, **{name: each})) for each in names}) == 4


def test_fields_do_not_run_together() -> None:
    """A digest tells where one name ends and the next begins, and which of two ports it is."""
    keys = [
        replace(_KEY, executable="ab", command="c"),
        replace(_KEY, executable="a", command="bc"),
        replace(_KEY, executable="abc", command=""),
        replace(_KEY, remote_port=22, local_port=None),
        replace(_KEY, remote_port=None, local_port=22),
        replace(_KEY, remote_address=ip_address("::1")),
        replace(_KEY, remote_address=ip_address("0.0.0.1")),
        replace(_KEY, remote_address=None),
        replace(_KEY, script="/opt/a"),
        replace(_KEY, parent_executable="/opt/a"),
        *(replace(_KEY, protocol=protocol) for protocol in Protocol if protocol is not _KEY.protocol),
    ]

    assert len({_digest(key) for key in keys}) == len(keys)


_names = st.one_of(st.none(), st.sampled_from(["", "a", "b", "\x00", "\udc80"]), st.text(max_size=3))
_keys = st.builds(
    ConnectionKey,
    direction=st.sampled_from(Direction),
    protocol=st.sampled_from(Protocol),
    remote_address=st.sampled_from([None, ip_address("10.0.0.1"), ip_address("::1"), ip_address("fd00::1")]),
    remote_port=st.one_of(st.none(), st.integers(0, 65_535)),
    local_port=st.one_of(st.none(), st.integers(0, 65_535)),
    executable=_names,
    script=_names,
    user=_names,
    login_user=_names,
)
_numbers = st.integers(0, 2**31)
_counts = st.builds(
    ConnectionCount,
    key=_keys,
    session=st.integers(0, 3),
    login_address=st.sampled_from([None, ip_address("192.0.2.1"), ip_address("2001:db8::1")]),
    login_source=_names,
    remote_name=_names,
    remote_name_source=_names,
    remote_country=_names,
    handshake_us_max=_numbers,
    **dict.fromkeys(_SUMMED, _numbers),
)


@settings(max_examples=examples(50), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(series=st.lists(st.lists(_counts, max_size=8), min_size=1, max_size=4))
def test_nothing_is_lost_or_invented(engine: Engine, series: list[list[ConnectionCount]]) -> None:
    """Whatever keys and counts come, the store holds the same sums as went in, for each host, snapshot and outcome; and
    each origin and name that it gives is one that came with this key and session.
    """
    recorder = Recorder(engine, host=f"host {_number(engine, hosts)}")
    for counts in series:
        ref = recorder.snapshot(*counts)
        found = [each.count for each in stored(engine, ref)]

        assert _sums(found) == _sums(counts)
        assert max((each.handshake_us_max for each in found), default=0) == max(
            (each.handshake_us_max for each in counts), default=0
        )
        assert len({(each.key, each.session) for each in found}) == len(found)
        for learnt in (_origin, _name):
            given = {(_row(each), learnt(each)) for each in counts}
            known = {(_row(each), learnt(each)) for each in found}
            assert known <= given
            # What one of the counts knew is not forgotten for another that did not.
            assert {row for row, value in known if _is_known(value)} == {
                row for row, value in given if _is_known(value)
            }


def _written(value: Any) -> Any:
    return storable(value) if isinstance(value, str) else value


def _row(count: ConnectionCount) -> tuple[Any, ...]:
    key = count.key
    return (count.session, *(_written(getattr(key, field.name)) for field in fields(key)))


def _origin(count: ConnectionCount) -> tuple[Any, ...]:
    return (count.login_address, _written(count.login_source))


def _name(count: ConnectionCount) -> tuple[Any, ...]:
    return tuple(_written(each) for each in (count.remote_name, count.remote_name_source, count.remote_country))


def _is_known(value: tuple[Any, ...]) -> bool:
    return any(each is not None for each in value)


def _sums(counts: list[ConnectionCount]) -> Counter[str]:
    return sum((Counter({name: getattr(each, name) for name in _SUMMED}) for each in counts), Counter())


def test_detection_takes_snapshots_in_order(engine: Engine) -> None:
    """A host's cursor gives the oldest snapshot that has not been seen, until none is left."""
    recorder = Recorder(engine, unpacked=False)
    refs = [recorder.snapshot(count()) for _ in range(3)]
    with writing(engine) as connection:
        assert cursors.hosts_without_cursor(connection) == [refs[0].host_id]
        cursors.create_cursors(connection)
        cursors.create_cursors(connection)
        assert cursors.hosts_without_cursor(connection) == []

    seen = []
    while True:
        with writing(engine) as connection:
            ref = cursors.next_snapshot(connection, refs[0].host_id)
            if ref is None:
                break
            assert cursors.hosts_behind(connection) == [ref.host_id]
            cursors.advance_cursor(connection, ref)
            seen.append(ref)

    assert seen == refs
    with reading(engine) as connection:
        assert cursors.hosts_behind(connection) == []


@pytest.mark.postgres
def test_two_workers_do_not_take_the_same_host(postgres_engine: Engine) -> None:
    """While one worker has a host's snapshot in hand, another gets none of that host."""
    ref = Recorder(postgres_engine).snapshot(count())
    with writing(postgres_engine) as connection:
        cursors.create_cursors(connection)

    with writing(postgres_engine) as connection:
        assert cursors.next_snapshot(connection, ref.host_id) == ref
        with writing(postgres_engine) as other:
            assert cursors.next_snapshot(other, ref.host_id) is None


def test_a_snapshot_whose_commit_was_not_confirmed_is_stored_once(engine: Engine) -> None:
    """The database had it, the answer was lost: writing it again gives the same snapshot back."""
    recorder = Recorder(engine)
    snapshot = Snapshot(host="bastion-1", start=START, end=START + timedelta(seconds=10), counts=(count(),))
    with writing(engine) as connection:
        first = recorder.writer.write(connection, snapshot)
    recorder.writer.forget()
    with writing(engine) as connection:
        again = recorder.writer.write(connection, snapshot)
    assert again == first
    with reading(engine) as connection:
        assert connection.scalar(select(func.count()).select_from(packed_counts)) == 1


def test_a_second_collector_of_the_same_host_is_noticed(engine: Engine) -> None:
    """Two hosts of one name, or two collectors on one: the other is refused before anything is counted twice."""
    first, second = Recorder(engine), Recorder(engine, now=START + timedelta(seconds=5))
    first.snapshot(count())
    second.snapshot(count(port=23))
    with pytest.raises(StoreError, match="another collector stores snapshots of bastion-1"):
        first.snapshot(count(port=24))
    second.snapshot(count(port=25))


@pytest.mark.parametrize("marked", [True, False])
def test_a_clock_that_was_set_back_while_nobody_watched_is_said(engine: Engine, marked: bool) -> None:
    """A collector begins an hour before the last snapshot ended: its first snapshot says so, and no other. What is
    imported may be of any time.
    """
    interval = timedelta(seconds=10)
    for writer, first in ((SnapshotWriter("bastion-1"), 0), (SnapshotWriter("bastion-1"), -360)):
        for number in range(2):
            start = START + (first + number) * interval
            taken = Snapshot(host="bastion-1", start=start, end=start + interval, counts=())
            mark = bytes(8) + abs(first).to_bytes(4, "big") + number.to_bytes(4, "big") if marked else None
            with writing(engine) as connection:
                writer.write(connection, taken, mark=mark)
    with reading(engine) as connection:
        steps = connection.scalars(select(snapshots.c.clock_step_seconds).order_by(snapshots.c.seq)).all()
        gaps = connection.scalars(select(snapshots.c.gap_seconds)).all()
    assert steps == ([0, 0, -3620, 0] if marked else [0, 0, 0, 0])
    assert set(gaps) == {0}


@pytest.mark.parametrize("committed", [True, False])
def test_a_snapshot_that_was_rolled_back_leaves_no_number_out(engine: Engine, committed: bool) -> None:
    """Whether or not it was committed before the database went away: none is missed, as if somebody had deleted it."""
    writer, interval = SnapshotWriter("bastion-1"), timedelta(seconds=10)
    taken = [
        Snapshot(host="bastion-1", start=START + number * interval, end=START + (number + 1) * interval, counts=())
        for number in range(4)
    ]
    for number, each in enumerate(taken):
        mark = number.to_bytes(16, "big")
        if number in {0, 2}:
            with suppress(StoreError), writing(engine) as connection:
                writer.write(connection, each, mark=mark)
                if not committed:
                    raise StoreError("the server closed the connection")
            writer.forget()
        with writing(engine) as connection:
            writer.write(connection, each, mark=mark)
    with reading(engine) as connection:
        assert list(connection.scalars(select(snapshots.c.seq).order_by(snapshots.c.seq))) == [1, 2, 3, 4]
