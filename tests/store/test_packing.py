"""Counts, and what detection says of them, come out as they went in."""

from __future__ import annotations

import struct
import zlib
from math import isclose, log10
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.domain import CHANNELS, Observation
from detector.store.packing import COUNT_COLUMNS, PackingError, pack_counts, unpack_counts, unpack_keys
from detector.store.packing_observations import NO_OBSERVATION, pack_observations, unpack_observations

_NULLABLE = frozenset({"origin_id", "name_id"})
_number = st.one_of(st.integers(0, 3), st.integers(0, 2**31), st.integers(0, 2**62 - 1))
_row = st.fixed_dictionaries(
    {name: st.none() | st.integers(1, 2**40) if name in _NULLABLE else _number for name in COUNT_COLUMNS}
)
_rows = st.lists(_row, max_size=30, unique_by=lambda row: (row["key_id"], row["session"]))
_probability = st.none() | st.floats(1e-300, 1)
_observation = st.builds(
    Observation,
    key_id=st.just(1),
    session=st.just(0),
    score=st.none(),
    surprise=st.none() | st.floats(0, 300),
    unusual=st.none() | st.booleans(),
    channel=st.sampled_from([None, "novelty", "volume"]),
    novelty=st.sampled_from([None, "port", "pair"]),
    **{f"p_{name}": _probability for name in CHANNELS},
    explanation=st.none() | st.text(max_size=20),
)


@given(_rows)
def test_counts_come_out_as_they_went_in(rows: list[dict[str, Any]]) -> None:
    """Sorted by key and session; what is unknown is 0."""
    columns = unpack_counts(pack_counts(rows))

    ordered = sorted(rows, key=lambda row: (row["key_id"], row["session"]))
    assert {name: list(values) for name, values in columns.items()} == {
        name: [row[name] or 0 for row in ordered] for name in COUNT_COLUMNS
    }


@given(_rows)
def test_keys_come_out_alone(rows: list[dict[str, Any]]) -> None:
    """The same as among the others, however large their numbers are."""
    content = pack_counts(rows)

    assert list(unpack_keys(content)) == list(unpack_counts(content)["key_id"])


@given(st.binary(max_size=60), st.integers(0, 4_000_001), st.binary(max_size=60))
def test_keys_of_a_stranger_are_refused_or_read(content: bytes, rows: int, body: bytes) -> None:
    """Nothing else happens, and no memory is filled."""
    for written in (content, b"\x01" + struct.pack("<I", rows) + zlib.compress(body)):
        try:
            keys = unpack_keys(written)
        except PackingError:
            continue
        assert len(keys) <= max(rows, len(content))


@given(st.lists(_observation, max_size=30))
def test_what_detection_says_comes_out_as_it_went_in(observed: list[Observation]) -> None:
    """Words and sentences to the letter, numbers to the digits that are kept."""
    content = pack_observations(observed)

    if content is None:
        assert all(getattr(each, name) is None for each in observed for name in NO_OBSERVATION)
        return
    unpacked = unpack_observations(content)
    for number, each in enumerate(observed):
        row = unpacked.row(number)
        assert (row["channel"], row["novelty"], row["explanation"]) == (each.channel, each.novelty, each.explanation)
        _close(row["surprise"], each.surprise, 1e-6)
        if each.surprise is None or not any(other.unusual is not None for other in observed):
            assert row["unusual"] is None
        else:
            assert row["unusual"] == bool(each.unusual)
        # The exponent has three digits.
        for name in (f"p_{channel}" for channel in CHANNELS):
            written, read = getattr(each, name), row[name]
            assert (read is None) == (written is None)
            if written is not None:
                assert isclose(log10(read), log10(written), rel_tol=3e-3, abs_tol=3e-3)


def _close(read: float | None, written: float | None, tolerance: float) -> None:
    if written is None or read is None:
        assert read is written
    else:
        assert isclose(read, written, rel_tol=tolerance, abs_tol=1e-37)


@pytest.mark.parametrize("score", [0.0, 0.5, 0.9, 0.987654, 0.99, 0.99999])
def test_a_score_has_seven_digits(score: float) -> None:
    """It is kept as the surprise that it is made of."""
    observed = Observation(
        key_id=1, session=0, score=score, surprise=-log10(1 - score), channel=None, novelty=None,

    )  # fmt: skip
    content = pack_observations([observed, None])
    assert content is not None
    unpacked = unpack_observations(content)
    assert (unpacked.score(0), unpacked.score(1)) == (score, None)


@given(st.binary(max_size=200))
def test_what_a_stranger_wrote_is_refused(content: bytes) -> None:
    """Whatever it is: an error of ours, and no other."""
    for unpack in (unpack_counts, unpack_observations):
        with pytest.raises(PackingError):
            unpack(content)


@given(_rows, st.data())
def test_what_was_damaged_is_refused_or_read(rows: list[dict[str, Any]], data: st.DataObject) -> None:
    """A byte that changed may go unnoticed in a value, but breaks nothing."""
    content = bytearray(pack_counts(rows))
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        columns = unpack_counts(bytes(content))
    except PackingError:
        return
    assert len({len(values) for values in columns.values()}) == 1


def test_what_would_fill_the_memory_is_refused() -> None:
    """A few kilobytes may unpack to gigabytes: not more is unpacked than the rows can take."""
    bomb = b"\x01" + struct.pack("<I", 10) + zlib.compress(bytes(50_000_000))
    with pytest.raises(PackingError):
        unpack_counts(bomb)
    many = b"\x01" + struct.pack("<I", 2**32 - 1) + zlib.compress(b"0" * 11)
    with pytest.raises(PackingError):
        unpack_counts(many)
