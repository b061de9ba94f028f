"""What a field of a rule is: Sigma's name, its type, and the SQL behind it."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as attribute
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from detector.domain import Direction

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import ColumnElement

    from detector.domain import Scalar

MOST = 2**63 - 1
"""The largest number that a field may hold: what the integers of both databases do."""


class Kind(StrEnum):
    """Type of a field's values; decides which modifiers apply."""

    TEXT = "text"
    CHOICE = "choice"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    ADDRESS = "address"
    OUTCOME = "outcome"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Field:
    """One field: Sigma's name, the system's own word for it, its type, and the SQL that gives its value.

    A field that `groups` says who or what, and may stand in group-by and in a value_count; the others are measures.
    """

    name: str
    word: str
    kind: Kind
    expression: ColumnElement[Any]
    meaning: str
    example: str
    choices: tuple[str, ...] = ()
    minimum: float = 0
    maximum: float = MOST
    groups: bool = False
    outbound: bool | None = None
    """Whether it is there for outbound connections alone (true), or for inbound ones alone (false)."""
    stored: Mapping[bool, str | int] = attribute(default_factory=dict)
    """Of a boolean: what the expression gives for true and for false."""


def group_of(fields: tuple[Field, ...], values: tuple[Any, ...], direction: str | None) -> dict[str, Scalar]:
    """The system's words for `fields` with their values, fit for JSON: addresses as text.

    `direction` tells the two meanings of DestinationPort apart; it may be None where that is not among the fields.
    """
    return {_word(field, direction): _scalar(value) for field, value in zip(fields, values, strict=True)}


def _word(field: Field, direction: str | None) -> str:
    return "local_port" if field.word == "remote_port" and direction == Direction.INBOUND else field.word


def _scalar(value: Any) -> Scalar:
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
