"""Which rows of past snapshots rules look at: all of the last hour, and of a longer time what correlations match."""

from __future__ import annotations

from datetime import timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING

from sqlalchemy import or_

from detector.ruleset.sieve import Sieve, Wanted
from detector.ruleset.sought import Sought

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy import Connection

    from detector.ruleset.conditions import Matching
    from detector.ruleset.correlating import CorrelationMatcher

MOST_WHOLE = timedelta(hours=1)
"""As far back all rows are kept, if a rule looks back so far: of what is younger nobody has to tell what is needed."""

_DIGEST_BYTES = 16


class Needs:
    """What some correlations look at; see `store.recent.Needed`."""

    def __init__(self, correlations: Iterable[CorrelationMatcher]) -> None:
        found = list(correlations)
        self.whole: timedelta = min(max((each.timespan for each in found), default=timedelta(0)), MOST_WHOLE)
        """How far before a snapshot's end all rows are looked at."""
        self._wanted: dict[bytes, Wanted] = {}
        longer: dict[timedelta, set[bytes]] = {}
        for each in found:
            # The snapshots that rules about capture look at are rows of their own, which are there anyway.
            if each.timespan > MOST_WHOLE and each.wanted.category.packed:
                matching = each.wanted.matching
                key = _digest(matching)
                self._wanted[key] = Wanted(each.wanted.category, matching, each.wanted.category.rows.place)
                longer.setdefault(each.timespan, set()).add(key)
        self.longer: Mapping[timedelta, frozenset[bytes]] = {back: frozenset(keys) for back, keys in longer.items()}
        """By how far back beyond that: which rows, as digests of what they have to match."""
        self._sieves: dict[frozenset[bytes], Sieve] = {}

    def places(
        self, connection: Connection, host_id: int, span: tuple[int, int], wanted: frozenset[bytes]
    ) -> set[tuple[int, ...]]:
        """Snapshot, key and session of the rows of a span that are wanted, of those that are there."""
        if wanted not in self._sieves:
            # As long as rules do not change, they are as many as there are times that are looked back.
            self._sieves[wanted] = Sieve([self._wanted[key] for key in sorted(wanted)], span=True)
        return {place for rows in self._sieves[wanted].rows_of_span(connection, host_id, span) for place in rows}

    def seeking(self, wanted: frozenset[bytes]) -> Sought:
        """What tells, of rows that are packed, that they are not wanted."""
        return Sought.of(or_(*(self._wanted[key].matching.rows for key in sorted(wanted))))


def _digest(matching: Matching) -> bytes:
    """The same for conditions that match the same rows by the same words; in any process."""
    compiled = matching.rows.compile()
    return blake2b(repr((str(compiled), sorted(compiled.params.items()))).encode(), digest_size=_DIGEST_BYTES).digest()
