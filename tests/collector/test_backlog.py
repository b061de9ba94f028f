"""Snapshots that wait for the database: in order, each once, and what finds no room is counted."""

from __future__ import annotations

from contextlib import closing, suppress
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.collector.backlog import Backlog
from detector.collector.spool import Spool
from detector.domain import CaptureHealth, Losses, Snapshot
from detector.errors import SpoolError
from tests.builders import START, count
from tests.examples import examples

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_KINDS = ("attempted", "established", "refused", "timed_out", "failed")
_PLENTY = 10_000_000


def _snapshot(number: int, sizes: Iterable[tuple[bool, int]] = ((False, 1),)) -> Snapshot:
    start = START + timedelta(seconds=10 * number)
    counts = [
        count(port=1000 + index, direction="inbound", attempted=n, established=n)
        if inbound
        else count(port=1000 + index, attempted=n, refused=n)
        for index, (inbound, n) in enumerate(sizes)
    ]
    return Snapshot(host="h", start=start, end=start + timedelta(seconds=10), counts=tuple(counts))


def _large(number: int) -> Snapshot:
    """A few kB when compressed: names without order."""
    random = Random(number)
    counts = tuple(count(executable=f"/{random.randbytes(200).hex()}") for _ in range(20))
    return replace(_snapshot(number), counts=counts)


def _drained(backlog: Backlog) -> list[Snapshot]:
    out = []
    while (waiting := backlog.oldest()) is not None:
        if waiting.snapshot is None:
            backlog.give_up_oldest(waiting)
            continue
        out.append(waiting.snapshot)
        backlog.stored(waiting)
    return out


def _conserved(given: list[Snapshot], out: list[Snapshot], more: Losses | None = None) -> None:
    """Counts and losses together are what was given, of each kind; so are the snapshots themselves."""
    lost = sum((snapshot.losses for snapshot in out), more or Losses())
    for kind in _KINDS:
        before = sum(getattr(each, kind) for snapshot in given for each in snapshot.counts)
        after = sum(getattr(each, kind) for snapshot in out for each in snapshot.counts)
        inbound = lost.inbound if kind in {"attempted", "established"} else 0
        assert after + getattr(lost, kind) + inbound == before
    assert len(out) + lost.snapshots == len(given)


_steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.lists(st.tuples(st.booleans(), st.integers(1, 5)), max_size=6)),
        st.tuples(st.sampled_from(("keep", "store", "die")), st.none()),
    ),
    max_size=25,
)


@settings(max_examples=examples(150))
@given(steps=_steps, room=st.sampled_from((0, 4096, 3 * 4096, 6 * 4096, _PLENTY)))
def test_what_comes_out_and_what_is_said_to_be_lost_is_what_went_in(
    steps: list[tuple[str, list[tuple[bool, int]]]], room: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever happens in whatever order, with whatever room: counts and losses together are conserved, of each kind;
    the time covered has no gap, and the order is that of the clock.
    """
    folder = tmp_path_factory.mktemp("state") / "spool"
    given: list[Snapshot] = []
    out: list[Snapshot] = []
    spool = Spool(folder, room)
    backlog = Backlog(spool)
    for step, sizes in steps:
        if step == "add":
            given.append(_snapshot(len(given), sizes))
            backlog.add(given[-1])
        elif step == "store":
            if (waiting := backlog.oldest()) is not None:
                assert waiting.snapshot is not None
                out.append(waiting.snapshot)
                backlog.stored(waiting)
        else:
            with suppress(SpoolError):
                backlog.keep()
            if step == "die" and room and not backlog.in_memory:
                spool.close()
                spool = Spool(folder, room)
                backlog = Backlog(spool)
        assert backlog.in_memory <= 2 or step == "add"
        assert spool.bytes <= room
    # The last one has to say what was lost.
    given.append(_snapshot(len(given)))
    backlog.add(given[-1])
    out += _drained(backlog)
    spool.close()
    _conserved(given, out)
    assert out[0].start == START
    assert [each.start for each in out[1:]] == [each.end for each in out[:-1]]
    assert not [path for path in folder.iterdir() if room]


def test_what_waits_survives_the_collector(tmp_path: Path) -> None:
    """The next one finds the same snapshots in the same order, and goes on behind them."""
    given = [_large(number) for number in range(4)]
    with closing(Spool(tmp_path / "spool", _PLENTY)) as spool:
        backlog = Backlog(spool)
        for each in given[:3]:
            backlog.add(each)
            backlog.keep()
        assert backlog.in_memory == 0
    with closing(Spool(tmp_path / "spool", _PLENTY)) as spool:
        backlog = Backlog(spool)
        backlog.add(given[3])
        assert _drained(backlog) == given
    assert list((tmp_path / "spool").iterdir()) == []


def test_the_oldest_is_never_given_up(tmp_path: Path) -> None:
    """It may be in the database already: to call it lost would count it twice. The next ones are, the oldest first."""
    given = [_large(number) for number in range(6)]
    with closing(Spool(tmp_path / "spool", 25_000)) as spool:
        backlog = Backlog(spool)
        for each in given:
            backlog.add(each)
            backlog.keep()
        assert backlog.given_up > 0
        out = _drained(backlog)
    assert out[0] == given[0]
    assert out[1].start == given[1].start
    assert out[1].losses.snapshots == backlog.given_up
    assert out[-1].counts == given[-1].counts
    _conserved(given, out)


def test_without_a_spool_two_wait_in_memory(tmp_path: Path) -> None:
    """With `0` the newest is kept beside the oldest, and says what was lost between them."""
    given = [_snapshot(number) for number in range(9)]
    with closing(Spool(tmp_path / "spool", 0)) as spool:
        backlog = Backlog(spool)
        for each in given:
            backlog.add(each)
            backlog.keep()
            assert backlog.in_memory <= 2
        out = _drained(backlog)
    assert (out[0], out[1].counts, out[1].losses.snapshots) == (given[0], given[-1].counts, 7)
    _conserved(given, out)


def test_what_was_wrong_with_a_snapshot_that_was_given_up_is_said_by_the_next(tmp_path: Path) -> None:
    """Blind in one of them is blind, since the earlier; what passed adds up."""
    bad = CaptureHealth(self_test_passed=False, blind_since=START, late_seconds=3, clock_step_seconds=-60)
    good = CaptureHealth(self_test_passed=True, late_seconds=1, clock_step_seconds=20, suspended_seconds=5)
    with closing(Spool(tmp_path / "spool", 0)) as spool:
        backlog = Backlog(spool)
        backlog.add(_snapshot(0))
        backlog.add(replace(_snapshot(1), health=bad))
        backlog.add(replace(_snapshot(2), health=good))
        out = _drained(backlog)
    assert out[1].health == CaptureHealth(
        self_test_passed=False, blind_since=START, late_seconds=3, clock_step_seconds=-40, suspended_seconds=5
    )


@pytest.mark.parametrize("cut", [0, 10, 60, 800, -1])
def test_a_file_that_was_cut_short_is_counted(tmp_path: Path, cut: int) -> None:
    """The power went as it was written, or the disk lost its end: the next one tells of it."""
    given = [_large(number) for number in range(3)]
    with closing(Spool(tmp_path / "spool", _PLENTY)) as spool:
        backlog = Backlog(spool)
        for each in given:
            backlog.add(each)
            backlog.keep()
    torn = sorted((tmp_path / "spool").iterdir())[1]
    torn.write_bytes(torn.read_bytes()[:cut])
    with closing(Spool(tmp_path / "spool", _PLENTY)) as spool:
        backlog = Backlog(spool)
        out = _drained(backlog)
    assert out[0] == given[0]
    assert out[1].counts == given[2].counts
    assert out[1].losses.snapshots == 1
    if cut in {800, -1}:
        # What it had counted stands at its beginning.
        _conserved(given, out)


def test_any_byte_that_changed_is_noticed(tmp_path: Path) -> None:
    """Nothing is stored of a file that is not what was written."""
    with closing(Spool(tmp_path / "spool", _PLENTY)) as spool:
        backlog = Backlog(spool)
        backlog.add(_snapshot(0))
        backlog.keep()
    (path,) = (tmp_path / "spool").iterdir()
    sound = path.read_bytes()
    for place in range(len(sound)):
        # Its mark is its name's, and not read.
        if 6 <= place < 22:
            continue
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 0x20]) + sound[place + 1 :])
        with closing(Spool(tmp_path / "spool", _PLENTY)) as spool:
            waiting = Backlog(spool).oldest()
        assert waiting is not None
        assert waiting.snapshot is None, place
        assert waiting.damage


def test_death_between_counting_as_lost_and_removing_counts_once(tmp_path: Path) -> None:
    """What is said to be lost does not come back with its file."""
    given = [_large(number) for number in range(5)]
    folder = tmp_path / "spool"
    with closing(Spool(folder, 20_000)) as spool:
        backlog = Backlog(spool)
        kept: dict[str, bytes] = {}
        for each in given:
            backlog.add(each)
            backlog.keep()
            kept |= {path.name: path.read_bytes() for path in folder.iterdir()}
        assert backlog.given_up > 1
    for name, content in kept.items():
        # As after a power cut that undid every removal.
        (folder / name).write_bytes(content)
    with closing(Spool(folder, _PLENTY)) as spool:
        out = _drained(Backlog(spool))
    _conserved(given, out)


def test_hostile_names_come_back_as_they_were(tmp_path: Path) -> None:
    """Whatever a process calls itself, in whatever bytes: it is text in the file, and the same text afterwards."""
    names = ["\x00", "\udcff", "\n", '"]\n["', "\x1b[31m", "/tmp/" + "x" * 5000, "日本", ""]
    counts = tuple(
        count("::1" if index % 2 else None, executable=name, command=name, remote_name=name, login_address="192.0.2.1")
        for index, name in enumerate(names)
    )
    snapshot = replace(_snapshot(0), counts=counts)
    with closing(Spool(tmp_path / "spool", _PLENTY)) as spool:
        backlog = Backlog(spool)
        backlog.add(snapshot)
        backlog.keep()
        assert _drained(backlog) == [snapshot]


def test_the_spool_is_for_its_owner_alone(tmp_path: Path) -> None:
    """Who connected where is nobody else's business."""
    with closing(Spool(tmp_path / "spool", _PLENTY)) as spool:
        backlog = Backlog(spool)
        backlog.add(_snapshot(0))
        backlog.keep()
    (path,) = (tmp_path / "spool").iterdir()
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_a_link_in_place_of_the_spool_is_not_followed(tmp_path: Path) -> None:
    """Whoever may write the state folder must not have root write elsewhere."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "spool").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SpoolError, match="spool: Not a directory"):
        Spool(tmp_path / "spool", _PLENTY)
