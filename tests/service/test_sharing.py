"""Whose turn it is among the hosts that wait, on a real database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector.service.sharing import Turns
from detector.store.cursors import advance_cursor, next_snapshot
from detector.store.engine import writing
from tests.builders import Recorder, count

if TYPE_CHECKING:
    from sqlalchemy import Engine


class _Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def _take(engine: Engine, turns: Turns) -> int | None:
    """Lets the host whose turn it is have one snapshot detected; gives its number."""
    host_id = turns.next(engine)
    if host_id is None:
        return None
    with writing(engine) as connection:
        snapshot = next_snapshot(connection, host_id)
        if snapshot is not None:
            advance_cursor(connection, snapshot)
    turns.took(host_id, found=snapshot is not None)
    return host_id if snapshot is not None else None


def _send(engine: Engine, *numbers: int) -> None:
    for host, number in enumerate(numbers, start=1):
        recorder = Recorder(engine, host=f"bastion-{host}", unpacked=False)
        for _ in range(number):
            recorder.snapshot(count())


def test_a_host_with_a_long_backlog_does_not_keep_others_waiting(engine: Engine) -> None:
    """Of a host with twenty snapshots and two with two, each has one in every round."""
    _send(engine, 20, 2, 2)
    turns = Turns(alone=True)
    order = [_take(engine, turns) for _ in range(24)]
    assert {*order[:3]} == {*order[3:6]} == {1, 2, 3}
    assert set(order[6:]) == {1}
    assert turns.next(engine) is None


def test_what_another_worker_looks_after_is_left_to_it(engine: Engine) -> None:
    """A worker takes at once what it had before, and what is another's only when that does not take it for a second."""
    _send(engine, 3)
    clock = _Clock()
    mine, others = Turns(alone=False, clock=clock), Turns(alone=False, clock=clock)
    assert mine.next(engine) is None
    clock.now += 1.1
    assert _take(engine, mine) == 1
    # It is the first one's from now on.
    assert others.next(engine) is None
    assert _take(engine, mine) == 1
    # The first one has died.
    clock.now += 1.1
    assert _take(engine, others) == 1
    assert others.next(engine) is None
