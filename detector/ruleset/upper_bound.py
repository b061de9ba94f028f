"""What a rule's condition says of a row of which only a part is known: whether it may still match.

So that a long past need not be unpacked to see that nothing in it matches. Whatever may match is looked at by the
rule's own statement.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, and_, false, func, not_, or_, true
from sqlalchemy.sql import operators, visitors
from sqlalchemy.sql.elements import BinaryExpression, BindParameter, BooleanClauseList, UnaryExpression
from sqlalchemy.sql.functions import coalesce

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import ColumnElement, FromClause


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of a row."""

    tables: frozenset[FromClause] = frozenset()
    """Tables of which it has all columns."""
    columns: frozenset[Any] = frozenset()
    """Other columns that it has."""
    most: Mapping[Any, ColumnElement[Any]] = field(default_factory=dict)
    """What a column is no larger than, and missing only with it."""

    def has(self, expression: ColumnElement[Any]) -> bool:
        """Whether it has all that an expression is made of."""
        return all(each.table in self.tables or each in self.columns for each in columns_of(expression))


def columns_of(expression: ColumnElement[Any]) -> set[Column[Any]]:
    """The columns that an expression reads."""
    return {each for each in visitors.iterate(expression) if isinstance(each, Column)}


def possible(condition: ColumnElement[bool], known: Known) -> ColumnElement[bool]:
    """A condition on what is known that holds, as far as it goes, wherever `condition` does."""
    bound: ColumnElement[bool] = _bound(condition, known, upper=True)
    return bound


def _bound(condition: Any, known: Known, *, upper: bool) -> Any:
    """What `condition` at most holds for (`upper`), or at least."""
    if isinstance(condition, BooleanClauseList) and condition.operator in (operators.and_, operators.or_):
        join = and_ if condition.operator is operators.and_ else or_
        return join(*(_bound(part, known, upper=upper) for part in condition.clauses))
    if (negated := _negated(condition)) is not None:
        return not_(func.coalesce(_bound(negated, known, upper=not upper), false()))
    if known.has(condition):
        return condition
    if upper and (bound := _at_most(condition, known)) is not None:
        return bound
    return true() if upper else false()


def _negated(condition: Any) -> Any | None:
    """What stands under a `not`, as `conditions` writes one; None: it is none."""
    # AsBoolean is a UnaryExpression.
    if not isinstance(condition, UnaryExpression) or condition.operator not in (operators.is_false, operators.inv):
        return None
    inner: Any = condition.element
    if not isinstance(inner, coalesce):
        return None
    parts = list(inner.clauses)
    return parts[0] if len(parts) == 2 and isinstance(parts[1], type(false())) else None  # noqa: PLR2004 - value, else


def _at_most(condition: Any, known: Known) -> Any | None:
    """A comparison with a number, made with what the column is no larger than; None: it says nothing then."""
    if not isinstance(condition, BinaryExpression) or (most := known.most.get(condition.left)) is None:
        return None
    if condition.operator is operators.is_not:
        return most.is_not(None)
    if not isinstance(condition.right, BindParameter) or condition.right.expanding:
        return None
    if condition.operator is operators.gt:
        return most > condition.right
    return most >= condition.right if condition.operator in (operators.ge, operators.eq) else None
