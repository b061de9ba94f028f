"""What never changes of a key: which subjects it is about, and what kind of connection it is.

It is worked out once for each key, and looked up from then on: most rows of a snapshot are of keys that were there
before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from detector.domain import ConnectionKey
from detector.models import actors, baseline, features, samples
from detector.models.endpoints import end_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from detector.domain import StoredCount
    from detector.models.state import Subjects

_ENDPOINT = len(features.ENDPOINT)
_FAMILIAR = len(features.FAMILIAR_OF_KEY)
_ACTOR = len(actors.OF_KEY)
_SUBJECTS = _ENDPOINT + 1 + _FAMILIAR + _ACTOR * len(actors.KINDS)


@dataclass(frozen=True, slots=True)
class Facts:
    """Those of n rows."""

    subjects: npt.NDArray[np.int64]
    """(n, all) the numbers of their subjects."""
    traits: npt.NDArray[np.int64]
    """(n, len(features.TRAITS) + 1)."""

    @property
    def endpoint(self) -> npt.NDArray[np.int64]:
        """(n, 5) subjects, as features.ENDPOINT names them."""
        return self.subjects[:, :_ENDPOINT]

    @property
    def host(self) -> npt.NDArray[np.int64]:
        """(n,) the host in the row's direction."""
        return self.subjects[:, _ENDPOINT]

    @property
    def familiar(self) -> npt.NDArray[np.int64]:
        """(n, 6) subjects, as features.FAMILIAR_OF_KEY names them."""
        return self.subjects[:, _ENDPOINT + 1 : _ENDPOINT + 1 + _FAMILIAR]

    def actor(self, kind: str) -> npt.NDArray[np.int64]:
        """(n, 9) subjects, as actors.OF_KEY names them, of one of actors.KINDS."""
        first = _ENDPOINT + 1 + _FAMILIAR + _ACTOR * actors.KINDS.index(kind)
        return self.subjects[:, first : first + _ACTOR]

    @property
    def sampled(self) -> npt.NDArray[np.int64]:
        """(n,) whose row it is in the sample: see samples.actor_of."""
        return self.traits[:, -1]

    def trait(self, name: str) -> npt.NDArray[np.int64]:
        """(n,) one of features.TRAITS."""
        return self.traits[:, features.TRAITS.index(name)]


def look_up(subjects: Subjects, counts: Sequence[StoredCount]) -> Facts:
    """The facts of the keys of n rows; what they are about is numbered, and met."""
    if not counts:
        return Facts(*(np.zeros((0, width), dtype=np.int64) for width in (_SUBJECTS, len(features.TRAITS) + 1)))
    keys = subjects.memory.keys
    rows, new = np.zeros(len(counts), dtype=np.int64), list[ConnectionKey]()
    for place, stored in enumerate(counts):
        # A number is given again once nothing is left of its key, but not at the same moment.
        name = (stored.key_id, stored.first_seen)
        row = keys.rows.get(name)
        if row is None:
            row = keys.rows[name] = len(keys.rows)
            new.append(stored.count.key)
        rows[place] = row
    if new:
        table = np.array([_of_key(subjects, key) for key in new], dtype=np.int64)
        keys.add(table[:, :_SUBJECTS], table[:, _SUBJECTS:])
    facts = Facts(*keys.touch(rows, subjects.memory.hour))
    subjects.meet(facts.subjects)
    return facts


def _of_key(subjects: Subjects, key: ConnectionKey) -> tuple[int, ...]:
    end = end_of(key)
    return (
        *features.number_endpoint(subjects, end),
        baseline.number_host(subjects, outbound=end.outbound),
        *features.number_familiar(subjects, key, end),
        *(number for kind in actors.KINDS for number in actors.number_actor(subjects, kind, key, end)),
        *features.traits(key, end),
        samples.actor_of(key),
    )
