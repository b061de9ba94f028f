"""Counts rows that meet a condition beside others, in one statement."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import case, func

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement


def number_of(condition: ColumnElement[bool]) -> ColumnElement[int]:
    """How many rows meet it; 0 of none."""
    return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)
