"""Packed counts as arrays."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.store.packed_arrays import CountArrays, KeySet
from detector.store.packing import COUNT_COLUMNS, pack_counts, unpack_counts

_NUMBERS = st.integers(0, 3) | st.integers(0, 2**40)
_ROWS = st.lists(st.fixed_dictionaries(dict.fromkeys(COUNT_COLUMNS, _NUMBERS)), max_size=5)


@given(several=st.lists(_ROWS, max_size=6), damaged=st.integers(0, 5))
def test_arrays_of_many_hold_what_was_packed_of_each(several: list[list[dict[str, Any]]], damaged: int) -> None:
    """Each column is what `unpack_counts` gives, one snapshot after another, whatever the widths; damaged ones are
    told, and have no rows."""
    contents = [pack_counts(rows) for rows in several]
    expected = [unpack_counts(content) for content in contents]
    if damaged < len(contents):
        contents[damaged] = contents[damaged][:6]
        expected[damaged] = dict.fromkeys(COUNT_COLUMNS, ())

    arrays = CountArrays(contents)

    assert arrays.damaged.tolist() == [damaged] * (damaged < len(contents))
    assert arrays.rows.tolist() == [len(each["key_id"]) for each in expected]
    for name in reversed(COUNT_COLUMNS):
        assert arrays.column(name).tolist() == [value for each in expected for value in each[name]]


_WHOLE = pack_counts([dict.fromkeys(COUNT_COLUMNS, 300)])


@pytest.mark.parametrize(
    "wrong",
    [
        *(b"", _WHOLE[:4], _WHOLE[:-3], b"\x02" + _WHOLE[1:], _WHOLE[:1] + b"\x09" + _WHOLE[2:]),
        _WHOLE[:9] + bytes(len(_WHOLE) - 9),
    ],
)
def test_damage_is_told(wrong: bytes) -> None:
    """Cut short, changed, of more rows than there are, or something else altogether."""
    arrays = CountArrays([_WHOLE, wrong])

    assert arrays.damaged.tolist() == [1]
    assert arrays.column(COUNT_COLUMNS[-1]).tolist() == [300]


def test_keys_are_found_among_many() -> None:
    """Larger ones than any that is looked for are not."""
    rows = [{**dict.fromkeys(COUNT_COLUMNS, 0), "key_id": each} for each in (1, 5, 9)]
    keys = CountArrays([pack_counts(rows)]).column("key_id")

    assert KeySet({5, 7}).of(keys).tolist() == [False, True, False]
    assert KeySet(()).of(keys).tolist() == [False, False, False]
