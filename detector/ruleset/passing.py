"""Arithmetic over windows of a long past: which rows are there when a group may pass its threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[np.int64]


def may_pass(
    ends: Numbers, groups: Numbers, numbers: Numbers, *, timespan: int, threshold: float, distinct: bool
) -> npt.NDArray[np.bool_]:
    """Of each row whether its group may count `threshold` or more over the window that ends with it.

    It says yes where clocks were set back and the count is less; it never says no where the group passes.

    Args:
        ends: when the row's snapshot ended, in microseconds.
        groups: the row's group.
        numbers: what the row counts; or, where values are counted, its value.
        timespan: of the window, in microseconds.
        threshold: how much is enough.
        distinct: whether values are counted.
    """
    if not len(ends):
        return np.zeros(0, dtype=np.bool_)
    _, group = np.unique(groups, return_inverse=True)
    begins, leaves, weights = ends, ends + timespan, numbers
    if distinct:
        begins, leaves, group_of, weights = _once_each(group, numbers, ends, timespan)
    else:
        group_of = group
    # A row counts from its end on, and no more a timespan later.
    times = np.concatenate((begins, leaves))
    changes = np.concatenate((weights, -weights))
    members = np.concatenate((group_of, group_of))
    moments, at = np.unique(times, return_inverse=True)
    places = members * len(moments) + at
    order = np.argsort(places, kind="stable")
    # Of each group it ends at 0, so that the next one begins there.
    counts = np.cumsum(changes[order])
    last = np.searchsorted(places[order], group * len(moments) + np.searchsorted(moments, ends), side="right") - 1
    return np.asarray(counts[last] >= threshold)


def _once_each(
    group: Numbers, values: Numbers, ends: Numbers, timespan: int
) -> tuple[Numbers, Numbers, Numbers, Numbers]:
    """When each value of a group is in its window: from, until, the group, and 1."""
    _, value = np.unique(values, return_inverse=True)
    order = np.lexsort((ends, value, group))
    group, value, ends = group[order], value[order], ends[order]
    again = (group[1:] == group[:-1]) & (value[1:] == value[:-1])
    leaves = ends + timespan
    # Seen again before it left, it stays.
    leaves[:-1] = np.where(again, np.minimum(leaves[:-1], ends[1:]), leaves[:-1])
    return ends, leaves, group, np.ones(len(ends), dtype=np.int64)
