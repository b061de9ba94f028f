"""Reads `x-detector`, the section for what Sigma has no words for: one reader for each key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from detector.ruleset.baselines import Baseline, read_baseline
from detector.ruleset.correlation import read_group_by
from detector.ruleset.lint import mapping_of
from detector.ruleset.new_terms import NewTerms, read_new_terms

if TYPE_CHECKING:
    from collections.abc import Callable

    from detector.ruleset.documents import Faults
    from detector.ruleset.events import Category
    from detector.ruleset.fields import Field

SECTION = "x-detector"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What readers go by."""

    category: Category
    faults: Faults


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """What the section says; a key that is not there, or is refused, is None."""

    group_by: tuple[Field, ...] | None = None
    new_terms: NewTerms | None = None
    baseline: Baseline | None = None

    @property
    def remembers(self) -> str | None:
        """The key by which what a rule finds depends on more than the snapshot at hand."""
        return "new_terms" if self.new_terms else "baseline" if self.baseline else None


def read_extension(category: Category, faults: Faults) -> Extension:
    """The `x-detector` section of a rule over events of `category`."""
    content = faults.document.content
    section = mapping_of(content.get(SECTION), _READERS, faults, SECTION) or {}
    reading = Reading(category=category, faults=faults)
    # What is None is refused already.
    known = {key: value for key, value in section.items() if key in _READERS and value is not None}
    if {"new_terms", "baseline"} <= known.keys():
        faults.add("new_terms and baseline exclude each other; keep one, and write a second rule", SECTION, "baseline")
    return Extension(**{key: _READERS[key](value, reading) for key, value in known.items()})


def _group_by(value: Any, reading: Reading) -> tuple[Field, ...] | None:
    return read_group_by(value, reading.category, reading.faults, SECTION, "group_by") or None


def _new_terms(value: Any, reading: Reading) -> NewTerms | None:
    return read_new_terms(value, reading.category, reading.faults, SECTION, "new_terms")


def _baseline(value: Any, reading: Reading) -> Baseline | None:
    return read_baseline(value, reading.category, reading.faults, SECTION, "baseline")


_READERS: dict[str, Callable[[Any, Reading], Any]] = {
    "group_by": _group_by,
    "new_terms": _new_terms,
    "baseline": _baseline,
}
