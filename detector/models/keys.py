"""What never changes of the keys that are in memory: see `facts`, which knows what it means."""

from __future__ import annotations

from itertools import compress
from typing import TYPE_CHECKING

import numpy as np

from detector.models.layout import NEVER, longer

if TYPE_CHECKING:
    from datetime import datetime

    import numpy.typing as npt


class Keys:
    """Keys of one host, each with a row of its own."""

    def __init__(self) -> None:
        self.rows: dict[tuple[int, datetime], int] = {}
        """By number and first appearance of a key."""
        self._subjects = self._traits = np.zeros((0, 0), dtype=np.int64)
        # By row the observed hour in which the key was there last.
        self._touched = np.zeros(0, dtype=np.int64)

    def add(self, subjects: npt.NDArray[np.int64], traits: npt.NDArray[np.int64]) -> None:
        """Takes in the keys (n,) that `rows` named last: the numbers of their subjects (n, s), and traits (n, t)."""
        last = len(self.rows)
        first = last - len(subjects)
        if not first:
            self._subjects, self._traits = subjects[:0], traits[:0]
        self._subjects = longer(self._subjects, last, 0)
        self._traits = longer(self._traits, last, 0)
        self._touched = longer(self._touched, last, NEVER)
        self._subjects[first:last], self._traits[first:last] = subjects, traits

    def touch(self, rows: npt.NDArray[np.int64], hour: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """What is known of keys (n,) that are there in an observed hour: their subjects (n, s), and traits (n, t)."""
        self._touched[rows] = hour
        return self._subjects[rows], self._traits[rows]

    def touched_since(self, hour: int) -> npt.NDArray[np.bool_]:
        """By row, whether the key was there in an observed hour or later."""
        since: npt.NDArray[np.bool_] = self._touched[: len(self.rows)] >= hour
        return since

    def part(self, kept: npt.NDArray[np.bool_], numbers: npt.NDArray[np.int64]) -> Keys:
        """Some of the keys, by row; `numbers` says by the number of a subject which one it has from now on."""
        part, there = Keys(), len(self.rows)
        # They stand in the order of their rows.
        part.rows = {name: row for row, name in enumerate(compress(self.rows, kept))}
        part._subjects = numbers[self._subjects[:there][kept]]
        part._traits, part._touched = self._traits[:there][kept], self._touched[:there][kept]
        return part
