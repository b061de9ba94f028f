"""A single-event rule over a long past: which of very many rows it matches, by what it says of each kind of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from detector.ruleset.evaluate import finding, fingerprint
from detector.ruleset.matched import Matched, added_up
from detector.ruleset.matchers import EventMatcher, Match
from detector.ruleset.new_terms import Terms, known_before
from detector.ruleset.replayed_hours import ReplayedHours
from detector.ruleset.replayed_terms import MISSING, ReplayedTerms
from detector.ruleset.sieve import plain
from detector.ruleset.windows import PLACE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt
    from sqlalchemy import Connection, Select

    from detector.domain import Finding, Scalar, SnapshotRef
    from detector.ruleset.evaluate import Rule
    from detector.ruleset.matched import Taken
    from detector.ruleset.matchers import Group
    from detector.ruleset.sieve import Wanted

    Numbers = npt.NDArray[np.int64]

NO_GROUP = -1


class ReplayedEvents:
    """A single-event rule on one host, of which all that it remembers is that of the past.

    Args:
        rule: the rule.
        host_id: number of the host.
        host: its name.
    """

    def __init__(self, rule: Rule, host_id: int, host: str) -> None:
        assert isinstance(rule.matcher, EventMatcher)  # noqa: S101 - a fault of ours
        self._rule, self._matcher = rule, rule.matcher
        self._host_id, self._host = host_id, host
        self._rows = _statement(rule.matcher.wanted)
        self._terms: ReplayedTerms | None = None
        self._all_terms: Select[Any] | None = None
        self._hours = None if rule.matcher.baseline is None else ReplayedHours(rule.matcher.baseline)
        self._numbers: dict[Group, int] = {}
        self.groups: list[tuple[str, Mapping[str, Scalar]]] = []
        """Of each group its fingerprint, and what its rows have in common."""
        # By kind.
        self._group_of, self._amount_of, self._terms_of = (np.zeros(0, dtype=np.int64) for _ in range(3))

    def begin(self, past: Connection, first: SnapshotRef) -> None:
        """Takes up what is remembered from before the first snapshot that is looked at."""
        if (asked := self._matcher.new_terms) is not None:
            self._terms = ReplayedTerms(asked, known_before(past, first, asked))
            (wanted,) = Terms([asked]).wanted
            self._all_terms = _statement(wanted)

    def learn(self, rows: Connection, span: tuple[int, int]) -> None:
        """Looks at rows of new kinds.

        Args:
            rows: where the rows are, each in a snapshot that has the number of its kind.
            span: the first and the last of these.
        """
        place = {"host_id": self._host_id, "first_seq": span[0], "seq": span[1]}
        more = np.full(span[1] + 1 - len(self._group_of), NO_GROUP, dtype=np.int64)
        self._group_of = np.concatenate((self._group_of, more))
        self._amount_of = np.concatenate((self._amount_of, np.zeros_like(more)))
        for kind, *row in rows.execute(self._rows, place):
            self._group_of[kind], self._amount_of[kind] = self._read(row)
        if self._terms is not None and self._all_terms is not None:
            self._terms_of = np.concatenate((self._terms_of, np.full_like(more, MISSING)))
            for kind, *values in rows.execute(self._all_terms, place):
                self._terms_of[kind] = self._terms.number(tuple(values))

    def matched(self, taken: Taken, which: Numbers, kinds: Numbers, keys: Numbers, sessions: Numbers) -> Matched:
        """Those rows of the next snapshots that match.

        Args:
            taken: the snapshots.
            which: of each row its snapshot, by its place in `taken`, in order.
            kinds: of each row its kind, which was learnt.
            keys: of each row its key.
            sessions: of each row its session.
        """
        groups = self._group_of[kinds]
        chosen = groups != NO_GROUP
        if self._terms is not None:
            chosen &= self._terms.new(taken, which, self._terms_of[kinds])
        all_rows = Matched(
            taken=taken, which=which, groups=groups, keys=keys, sessions=sessions, amounts=self._amount_of[kinds]
        )
        return self._unusual(all_rows.only(chosen))

    def captured(self, rows: Connection, taken: Taken, span: tuple[int, int]) -> Matched:
        """Snapshots of a span that match, of a rule about how these were taken."""
        found = rows.execute(self._rows, {"host_id": self._host_id, "first_seq": span[0], "seq": span[1]})
        read = [(seq, *self._read(row)) for seq, *row in found]
        seqs, groups, amounts = np.array(read, dtype=np.int64).reshape(-1, 3).T
        there = np.isin(seqs, taken.seqs)
        nothing = np.zeros(len(seqs), dtype=np.int64)
        which = np.searchsorted(taken.seqs, seqs)
        all_rows = Matched(taken=taken, which=which, groups=groups, keys=nothing, sessions=nothing, amounts=amounts)
        return self._unusual(all_rows.only(there))

    def findings(self, matched: Matched) -> Iterator[tuple[SnapshotRef, list[Finding]]]:
        """What the rule says of rows that match, as in live detection."""
        for place, of_groups in matched.evidence():
            ref = matched.taken.ref(place, self._host_id, self._host)
            matches = (
                Match(group=self.groups[group][1], start=ref.start, end=ref.end, evidence=evidence)
                for group, evidence in of_groups.items()
            )
            found = [finding(self._rule, self._host, match) for match in matches]
            yield ref, sorted(found, key=lambda each: each.fingerprint)

    def _unusual(self, matched: Matched) -> Matched:
        if self._hours is None:
            return matched
        places, groups, amounts = added_up(matched, matched.amounts)
        unusual = self._hours.unusual(matched.taken.starts[places], groups, amounts)
        many = len(self.groups)
        cells = (places * many + groups)[unusual]
        return matched.only(np.isin(matched.which * many + matched.groups, cells))

    def _read(self, row: Sequence[Any]) -> tuple[int, int]:
        """The group and the amount of a row that matches."""
        direction, *values = row[PLACE:]
        group = self._matcher.group(direction, values)
        if group not in self._numbers:
            self._numbers[group] = len(self._numbers)
            shown = dict(group)
            self.groups.append((fingerprint(self._rule.rule_id, self._host, shown), shown))
        return self._numbers[group], self._matcher.amount(values) if self._hours is not None else 0


def _statement(wanted: Wanted) -> Select[Any]:
    rows = wanted.category.rows
    columns = [rows.table.c.seq, *map(plain, wanted.columns)]
    return rows.select(columns, rows.in_span, wanted.matching.rows).order_by(*rows.order)
