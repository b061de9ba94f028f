"""What a channel's words were worth so far, and what they are worth now.

A channel says that an hour holds something this strange with a probability of p. Its record is how many of the last
hours held what it gave that p or less. Where k of n hours did, p n were expected, and its p is replaced by

    p' = (k + A) / (n + A / p)

the posterior mean of p times the rate of actual to expected hours, if that rate is taken to be 1 as surely as A
expected hours tell (gamma prior and Poisson counts, as for standardised mortality ratios: Clayton and Kaldor,
"Empirical Bayes estimates of age-standardized relative risks", Biometrics 43, 1987). Where many hours tell it is the
conformal p-value of p itself, up to A (Vovk, Gammerman and Shafer, "Algorithmic learning in a random world", 2005);
where none can, since p is rarer than 1 in n, it is p. It grows with p, so the order of rows is that of the channel.

It is what people and rules are told of a channel. The surprise of a row is made of what its channels say themselves,
and held against its own hours by the threshold: what was learnt of one must not be counted twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

KEPT_HOURS = 7 * 24
"""A week: each kind of time once. What is older says little of a channel whose values change as things age."""
KEPT_HOURS_OF_FOREST = 2 * 24
"""What is older was said by forests that are no longer in force, of fewer kinds of rows."""
LEVELS = np.arange(31) / 10
"""The surprises at which hours are counted; beyond one hour in a thousand a week tells nothing."""
# As many hours beyond a surprise as a tail's prior is worth: see detector.models.calibration.
_PRIOR_EXCEEDANCES = 4.0
# Ten times, like the threshold of a host: what goes on for a week must not talk a channel into silence.
_MOVED_AT_MOST = 1.0
_COUNTS = np.dtype("<u2")


@dataclass(frozen=True, slots=True)
class Record:
    """How many hours were counted, and how many of them reached each of LEVELS."""

    hours: int = 0
    reached: tuple[int, ...] = (0,) * len(LEVELS)

    @classmethod
    def of(cls, maxima: Sequence[float]) -> Record:
        """The record of hours that held these surprises at most, those that held nothing included."""
        ordered = np.sort(np.array(maxima, dtype=np.float64))
        return cls(len(ordered), tuple((len(ordered) - np.searchsorted(ordered, LEVELS)).tolist()))

    @classmethod
    def unpack(cls, hours: int, content: bytes) -> Record:
        """What `pack` made."""
        return cls(hours, tuple(np.frombuffer(content, _COUNTS).tolist()))

    def pack(self) -> bytes:
        """The counts for the store."""
        return np.array(self.reached, _COUNTS).tobytes()

    def corrected(self, surprises: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The surprises of the channel (n,) as its record has it: -log10 p', between LEVELS on a line."""
        if not self.hours:
            return surprises
        prior = _PRIOR_EXCEEDANCES
        known = np.log10((self.hours + prior * 10**LEVELS) / (np.array(self.reached) + prior))
        beyond = np.maximum(0.0, surprises - LEVELS[-1])
        moved: npt.NDArray[np.float64] = np.interp(surprises, LEVELS, known) + beyond
        return np.clip(moved, np.maximum(0.0, surprises - _MOVED_AT_MOST), surprises + _MOVED_AT_MOST)
