"""The rows that forests are trained on."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from detector.domain import SnapshotRef, StoredCount
from detector.models import samples
from detector.models.features import FEATURES
from detector.store.engine import open_store, reading, writing
from detector.store.tables import metadata, model_samples
from tests.builders import START, count
from tests.examples import examples

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Engine

_CAPACITY = 168 * 16


def _offer(
    engine: Engine, rows: Sequence[tuple[int, str]], *, seq: int = 1, end: datetime = START, capacity: int = _CAPACITY
) -> None:
    """Offers rows, each a key number and a user; the number is all features."""
    counts = [
        StoredCount(key_id=number, count=count(user=user, login_user=user), first_seen=START) for number, user in rows
    ]
    features = np.repeat(
        np.array([number for number, _ in rows], dtype=np.float32)[:, np.newaxis], len(FEATURES), axis=1
    )
    snapshot = SnapshotRef(host_id=1, host="bastion-1", seq=seq, start=end - timedelta(minutes=1), end=end)
    with writing(engine) as connection:
        actors = np.array([samples.actor_of(each.count.key) for each in counts], dtype=np.int64)
        samples.offer(connection, snapshot, counts, features, actors, capacity=capacity)


def _read(engine: Engine, capacity: int = _CAPACITY) -> samples.Sample:
    with reading(engine) as connection:
        return samples.read(connection, 1, capacity=capacity)


def test_a_row_comes_back_with_what_it_stands_for(engine: Engine) -> None:
    """Its features, its key and its time; the oldest row first."""
    _offer(engine, [(7, "alice")], seq=2, end=START + timedelta(hours=3))
    _offer(engine, [(5, "bob")], seq=1)
    kept = _read(engine)
    assert kept.features[:, 0].tolist() == [5, 7]
    assert kept.key_ids.tolist() == [5, 7]
    assert kept.at.tolist() == [START.timestamp(), (START + timedelta(hours=3)).timestamp()]


def test_a_busy_hour_does_not_fill_the_sample(sqlite_engine: Engine) -> None:
    """Each hour of the week has its share, however much comes in one of them."""
    for minute in range(60):
        rows = [(minute * 100 + number, "alice") for number in range(100)]
        _offer(sqlite_engine, rows, seq=minute, end=START + timedelta(minutes=minute))
    assert len(_read(sqlite_engine)) == _CAPACITY // 168
    _offer(sqlite_engine, [(number, "alice") for number in range(100)], seq=61, end=START + timedelta(hours=1))
    assert len(_read(sqlite_engine)) == 2 * (_CAPACITY // 168)


def test_a_busy_program_leaves_room_for_the_others(sqlite_engine: Engine) -> None:
    """Of one that makes a hundred rows a minute and two that make one an hour, all three are in the sample."""
    for minute in range(30):
        rows = [(minute * 100 + number, "busy") for number in range(100)]
        if minute == 20:
            rows += [(90_001, "alice"), (90_002, "bob")]
        _offer(sqlite_engine, rows, seq=minute, end=START + timedelta(minutes=minute))
    assert {90_001, 90_002} < set(_read(sqlite_engine).key_ids.tolist())


def test_actors_have_equal_shares(sqlite_engine: Engine) -> None:
    """As far as they have rows, whichever of them comes first."""
    for seq, user in enumerate(("alice", "bob", "carol", "dave")):
        _offer(sqlite_engine, [(1000 * seq + number, user) for number in range(200)], seq=seq)
    shares = Counter(number // 1000 for number in _read(sqlite_engine).key_ids.tolist())
    assert len(shares) == 4
    assert max(shares.values()) - min(shares.values()) <= 1


def test_last_week_gives_way_to_this_week(sqlite_engine: Engine) -> None:
    """In the hour that comes again, and in no other."""
    _offer(sqlite_engine, [(number, "alice") for number in range(50)], seq=1)
    _offer(sqlite_engine, [(100 + number, "alice") for number in range(50)], seq=2, end=START + timedelta(hours=1))
    _offer(sqlite_engine, [(200 + number, "bob") for number in range(50)], seq=3, end=START + timedelta(days=7))
    kept = _read(sqlite_engine).key_ids.tolist()
    assert Counter(number // 100 for number in kept) == {1: 16, 2: 16}


def test_what_is_strange_to_this_version_is_not_read_and_gives_way(sqlite_engine: Engine) -> None:
    """Rows of other features, of another version of detector, are no rows."""
    _offer(sqlite_engine, [(number, "alice") for number in range(50)])
    with writing(sqlite_engine) as connection:
        connection.execute(update(model_samples).values(layout=1, features=b"short"))
    assert len(_read(sqlite_engine)) == 0
    _offer(sqlite_engine, [(100 + number, "bob") for number in range(50)], seq=2)
    assert min(_read(sqlite_engine).key_ids.tolist()) >= 100


@pytest.mark.parametrize("damage", [b"short", b"\x00\x00\x80\x7f" * len(FEATURES), b"\x00\x00\xc0\x7f" * len(FEATURES)])
def test_damaged_rows_are_not_trained_on(sqlite_engine: Engine, damage: bytes) -> None:
    """Of another length, or endless, or no numbers: the others are read."""
    _offer(sqlite_engine, [(1, "alice"), (2, "alice")])
    with writing(sqlite_engine) as connection:
        connection.execute(update(model_samples).where(model_samples.c.key_id == 1).values(features=damage))
    kept = _read(sqlite_engine)
    assert kept.key_ids.tolist() == [2]
    assert kept.features.shape == (1, len(FEATURES))


def test_no_rows_no_sample(sqlite_engine: Engine) -> None:
    """Nothing offered, nothing kept."""
    _offer(sqlite_engine, [])
    kept = _read(sqlite_engine)
    assert (len(kept), kept.features.shape) == (0, (0, len(FEATURES)))


@settings(max_examples=examples(20), deadline=None)
@given(
    st.integers(256, 3000),
    st.lists(
        st.tuples(st.integers(0, 24 * 30), st.lists(st.sampled_from("abcdefgh"), max_size=80)), min_size=1, max_size=20
    ),
)
def test_the_sample_is_bounded_and_the_same_for_all(capacity: int, offers: list[tuple[int, list[str]]]) -> None:
    """Whatever is offered when, there are never more rows than asked for, and another worker would keep the same."""
    kept = []
    for _ in range(2):
        engine = open_store("sqlite://")
        metadata.create_all(engine)
        for seq, (hour, users) in enumerate(offers):
            rows = [(seq * 100 + number, user) for number, user in enumerate(users)]
            _offer(engine, rows, seq=seq, end=START + timedelta(hours=hour), capacity=capacity)
        with reading(engine) as connection:
            most = samples.size(connection, 1, capacity=2**40, most=2**40)
        kept.append(_read(engine, capacity).key_ids.tolist())
        assert most == len(kept[-1]) <= capacity
        engine.dispose()
    assert kept[0] == kept[1]
    assert len(set(kept[0])) == len(kept[0])
