"""Finds what single-event rules match in a snapshot."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from detector.domain import EvidenceRef
from detector.ruleset.fields import Field, group_of
from detector.ruleset.new_terms import is_new
from detector.ruleset.sieve import Wanted
from detector.store.columns import Address, unpacked

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement

    from detector.domain import Scalar, SnapshotRef
    from detector.ruleset.baselines import Baseline
    from detector.ruleset.conditions import Matching
    from detector.ruleset.events import Category
    from detector.ruleset.new_terms import NewTerms, Noted


Group = tuple[tuple[str, "Scalar"], ...]
"""What rows have in common: words and values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Rows that a rule takes for one thing, with what they have in common."""

    group: Mapping[str, Scalar]
    start: datetime
    end: datetime
    evidence: tuple[EvidenceRef, ...]
    amount: int = 0
    """What the rows add up to, where a baseline asks for it."""


class EventMatcher:
    """A single-event rule: the rows of a snapshot that meet a condition, grouped."""

    def __init__(
        self,
        category: Category,
        matching: Matching,
        group_by: tuple[Field, ...] | None,
        *,
        new_terms: NewTerms | None = None,
        baseline: Baseline | None = None,
    ) -> None:
        self.new_terms, self.baseline = new_terms, baseline
        # By direction: what to group by, and where it stands among the columns.
        self._groups: dict[str | None, tuple[tuple[Field, ...], slice]] = {}
        fields: list[Field] = [*(group_by or ())]
        for direction, actor in category.actors.items():
            if group_by is None:
                fields += actor
            chosen = group_by or actor
            self._groups[direction] = chosen, slice(len(fields) - len(chosen), len(fields))
        self._addresses = [isinstance(field.expression.type, Address) for field in fields]
        terms = new_terms.columns if new_terms else ()
        self._terms = slice(len(fields), len(fields) + len(terms))
        amount: tuple[ColumnElement[Any], ...] = ()
        if baseline:
            amount = (baseline.field.expression if baseline.field else matching.weight,)
        columns = (*category.rows.place, category.direction, *(field.expression for field in fields), *terms, *amount)
        self.wanted = Wanted(category, matching, columns)

    def matches(self, snapshot: SnapshotRef, rows: Sequence[tuple[Any, ...]], noted: Noted) -> Iterator[Match]:
        """A match for each group of the `rows` of `snapshot` that meet the condition.

        Args:
            snapshot: the one at hand.
            rows: what `wanted` asks for.
            noted: what was there before, of the fields of all rules that ask what is new.
        """
        groups: dict[Group, list[EvidenceRef]] = defaultdict(list)
        amounts: Counter[Group] = Counter()
        for seq, key_id, session, direction, *values in rows:
            if self.new_terms and not is_new(self.new_terms, self.terms(values), snapshot, noted):
                continue
            group = self.group(direction, values)
            groups[group].append(EvidenceRef(seq=seq, key_id=key_id, session=session))
            if self.baseline:
                amounts[group] += self.amount(values)
        for each, found in groups.items():
            yield Match(
                group=dict(each),
                start=snapshot.start,
                end=snapshot.end,
                evidence=tuple(found),
                amount=amounts[each],
            )

    def group(self, direction: str | None, values: Sequence[Any]) -> Group:
        """What a row is grouped by, of its direction and the columns of `wanted` after that."""
        fields, where = self._groups[direction]
        shown = (
            unpacked(bytes(value)) if is_address and value is not None else value
            for value, is_address in zip(values[where], self._addresses[where], strict=True)
        )
        return tuple(group_of(fields, tuple(shown), direction).items())

    def terms(self, values: Sequence[Any]) -> tuple[Any, ...]:
        """The values of `new_terms`, of the columns after the direction."""
        return tuple(values[self._terms])

    def amount(self, values: Sequence[Any]) -> int:
        """What a row adds up to for the `baseline`, of the columns after the direction."""
        return int(values[-1])
