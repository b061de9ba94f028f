"""Packed counts as arrays."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.store.packed_arrays import CountArrays, KeySet, keys_of
from detector.store.packing import COUNT_COLUMNS, PackingError, pack_counts, unpack_counts

_NUMBERS = st.integers(0, 3) | st.integers(0, 2**40)
_ROWS = st.lists(st.fixed_dictionaries(dict.fromkeys(COUNT_COLUMNS, _NUMBERS)), max_size=5)


@given(rows=_ROWS)
def test_arrays_hold_what_was_packed(rows: list[dict[str, Any]]) -> None:
    """Each column, of whatever width, is what `unpack_counts` gives."""
    content = pack_counts(rows)
    expected = unpack_counts(content)

    arrays = CountArrays(content)

    for name in reversed(COUNT_COLUMNS):
        assert arrays.column(name).tolist() == list(expected[name])


@given(several=st.lists(_ROWS, max_size=6), damaged=st.integers(0, 5))
def test_keys_of_many_are_those_of_each(several: list[list[dict[str, Any]]], damaged: int) -> None:
    """One after another, whatever their widths; one that is damaged has none."""
    contents = [pack_counts(rows) for rows in several]
    expected = [list(unpack_counts(content)["key_id"]) for content in contents]
    if damaged < len(contents):
        contents[damaged], expected[damaged] = contents[damaged][:6], []

    keys, lengths = keys_of(contents)

    assert lengths.tolist() == list(map(len, expected))
    assert keys.tolist() == [key for each in expected for key in each]


def test_damage_is_told() -> None:
    """Cut short, changed, or something else altogether."""
    content = pack_counts([dict.fromkeys(COUNT_COLUMNS, 300)])
    for wrong in (b"", content[:4], content[:-3], b"\x02" + content[1:], content[:9] + b"\x00" * len(content[9:])):
        with pytest.raises(PackingError):
            CountArrays(wrong).column(COUNT_COLUMNS[-1])


def test_keys_are_found_among_many() -> None:
    """Larger ones than any that is looked for are not."""
    keys, _ = keys_of([pack_counts([{**dict.fromkeys(COUNT_COLUMNS, 0), "key_id": each} for each in (1, 5, 9)])])

    assert KeySet({5, 7}).of(keys).tolist() == [False, True, False]
    assert KeySet(()).of(keys).tolist() == [False, False, False]
