"""Connects as rows of snapshots."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from detector.domain import CaptureHealth, Losses, Outcome, Snapshot
from detector.evaluation.coarser import coarser
from detector.evaluation.connects import Connect, by_snapshot, mixed, snapshots_of
from tests.builders import START, count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detector.domain import ConnectionKey

_BEGIN = START.timestamp()
_KEYS = [count("10.0.4.12").key, count("10.0.4.13").key, count("198.51.100.7", 443).key]
_CONNECTS = st.lists(
    st.builds(
        Connect,
        at=st.floats(-30, 400).map(lambda after: _BEGIN + after),
        key=st.sampled_from(_KEYS),
        outcome=st.sampled_from(Outcome),
        session=st.integers(0, 1),
    ),
    max_size=40,
).map(lambda connects: sorted(connects, key=lambda each: each.at))


def _totals(snapshots: Sequence[Snapshot]) -> Counter[tuple[ConnectionKey, int]]:
    totals: Counter[tuple[ConnectionKey, int]] = Counter()
    for snapshot in snapshots:
        for each in snapshot.counts:
            totals[each.key, each.session] += each.attempted
    return totals


@settings(deadline=None)
@given(_CONNECTS)
def test_every_connect_of_the_period_is_counted_once_by_its_outcome(connects: list[Connect]) -> None:
    """Whatever its moment: snapshots follow one another from the beginning to the end."""
    snapshots = list(snapshots_of(connects, host="web-1", start=_BEGIN, end=_BEGIN + 300, seconds=60))
    within = [each for each in connects if _BEGIN <= each.at < _BEGIN + 300]
    assert len(snapshots) == 5
    assert _totals(snapshots) == Counter((each.key, each.session) for each in within)
    for outcome in Outcome:
        told = sum(getattr(row, outcome.value) for snapshot in snapshots for row in snapshot.counts)
        assert told == sum(each.outcome is outcome for each in within)


@settings(deadline=None)
@given(_CONNECTS, _CONNECTS)
def test_what_is_mixed_in_is_as_if_it_had_happened_there(benign: list[Connect], attack: list[Connect]) -> None:
    """Rows of one key and session become one, as in a snapshot that saw both."""
    period = {"host": "web-1", "start": _BEGIN, "end": _BEGIN + 300}
    snapshots = list(snapshots_of(benign, **period, seconds=60))  # type: ignore[arg-type]
    added = by_snapshot(attack, snapshots)
    mixture = [mixed(each, added.get(index, ())) for index, each in enumerate(snapshots)]
    both = sorted([*benign, *attack], key=lambda each: each.at)
    together = list(snapshots_of(both, **period, seconds=60))  # type: ignore[arg-type]
    assert [set(each.counts) for each in mixture] == [set(each.counts) for each in together]


@settings(deadline=None)
@given(_CONNECTS)
def test_longer_snapshots_of_shorter_ones_are_those_of_the_connects(connects: list[Connect]) -> None:
    """Five of a minute become one of five, row by row."""
    shorter = snapshots_of(connects, host="web-1", start=_BEGIN, end=_BEGIN + 300, seconds=60)
    longer = snapshots_of(connects, host="web-1", start=_BEGIN, end=_BEGIN + 300, seconds=300)
    found, expected = list(coarser(shorter, 300)), list(longer)
    assert [(each.start, each.end, set(each.counts)) for each in found] == [
        (each.start, each.end, set(each.counts)) for each in expected
    ]


def test_longer_snapshots_keep_what_was_lost_and_how_well_it_was_taken() -> None:
    """Losses add up, the latest word on a stop counts, and a gap is not filled."""
    first = Snapshot(host="web-1", start=START, end=START + timedelta(seconds=60), counts=(), losses=Losses(names=2))
    second = replace(first, start=first.end, end=first.end + timedelta(seconds=60), health=CaptureHealth(stopped=True))
    much_later = replace(first, start=START + timedelta(hours=2), end=START + timedelta(hours=2, seconds=60))
    found = list(coarser([first, second, much_later], 300))
    assert [(each.start, each.end) for each in found] == [
        (START, second.end),
        (much_later.start, much_later.end),
    ]
    assert found[0].losses.names == 4
    assert found[0].health.stopped
