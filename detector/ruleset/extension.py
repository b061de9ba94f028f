"""Reads `x-detector`, the section for what Sigma has no words for: one reader for each key."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from detector.domain import Telling
from detector.ruleset.baselines import Baseline, read_baseline
from detector.ruleset.correlation import read_group_by
from detector.ruleset.lint import is_correlation, is_filter, mapping_of
from detector.ruleset.new_terms import NewTerms, read_new_terms
from detector.ruleset.times import read_span, read_until
from detector.ruleset.wording import nearest, shown
from detector.sentence import ALWAYS, NUMBERS, OF_CAPTURE, THINGS, SentenceError, fill_in, names_in

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from datetime import datetime

    from detector.ruleset.documents import Faults
    from detector.ruleset.events import Category
    from detector.ruleset.fields import Field

SECTION = "x-detector"
# As [alerts] cooldown_seconds and [models] burn_in_hours.
_LONGEST_COOLDOWN = timedelta(days=30)
_LONGEST_BURN_IN = timedelta(days=60)
_CAPTURE = "capture"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What readers go by."""

    category: Category
    faults: Faults
    channels: Collection[str] | None
    """The names of all channels; None when they are not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """What the section says; a key that is not there, or is refused, is None."""

    group_by: tuple[Field, ...] | None = None
    new_terms: NewTerms | None = None
    baseline: Baseline | None = None
    cooldown: timedelta | None = None
    channels: tuple[str, ...] | None = None
    burn_in: timedelta | bool | None = None
    explain: str | None = None
    until: datetime | None = None

    @property
    def remembers(self) -> str | None:
        """The key by which what a rule finds depends on more than the snapshot at hand."""
        return "new_terms" if self.new_terms else "baseline" if self.baseline else None

    @property
    def telling(self) -> Telling:
        """How the alerts of the rule are told."""
        return Telling(
            cooldown=self.cooldown, channels=self.channels, burn_in=self.burn_in or False, explain=self.explain
        )


def read_extension(category: Category, faults: Faults, channels: Collection[str] | None) -> Extension:
    """The `x-detector` section of a rule over events of `category`, of a correlation or of a filter."""
    content = faults.document.content
    readers = _readers(content)
    section = mapping_of(content.get(SECTION), readers, faults, SECTION)
    reading = Reading(category=category, faults=faults, channels=channels)
    # What is None is refused already.
    known = {key: value for key, value in (section or {}).items() if key in readers and value is not None}
    if {"new_terms", "baseline"} <= known.keys():
        faults.add("new_terms and baseline exclude each other; keep one, and write a second rule", SECTION, "baseline")
    return Extension(**{key: readers[key](value, reading) for key, value in known.items()})


def check_explain(telling: Telling, group_by: Iterable[Field], category: Category, faults: Faults) -> None:
    """Notes names in the sentence of a rule that no alert of it has.

    Args:
        telling: has the sentence, if there is one.
        group_by: what the matches of the rule are grouped by.
        category: of the events.
        faults: of the rule.
    """
    if telling.explain is None:
        return
    known = OF_CAPTURE if category.name == _CAPTURE else (*ALWAYS, *THINGS, *NUMBERS)
    words = dict.fromkeys((*known, *(field.word for field in group_by)))
    place = (SECTION, "explain")
    if unknown := sorted(names_in(telling.explain) - words.keys()):
        for name in unknown:
            faults.add(f"explain names {shown(name)}, which the alert has not; {nearest(name, words)}", *place)
        return
    try:
        fill_in(telling.explain, {name: 1 if name in (*NUMBERS, "lost") else "x" for name in words})
    except SentenceError as fault:
        faults.add(f"explain {fault}", *place)


def _readers(content: Any) -> dict[str, Callable[[Any, Reading], Any]]:
    if is_filter(content):
        return {"until": _until}
    common: dict[str, Callable[[Any, Reading], Any]] = {
        "cooldown": _cooldown,
        "channels": _channels,
        "burn_in": _burn_in,
        "explain": _explain,
    }
    if is_correlation(content):
        return common
    return {"group_by": _group_by, "new_terms": _new_terms, "baseline": _baseline, **common}


def _group_by(value: Any, reading: Reading) -> tuple[Field, ...] | None:
    return read_group_by(value, reading.category, reading.faults, SECTION, "group_by") or None


def _new_terms(value: Any, reading: Reading) -> NewTerms | None:
    return read_new_terms(value, reading.category, reading.faults, SECTION, "new_terms")


def _baseline(value: Any, reading: Reading) -> Baseline | None:
    return read_baseline(value, reading.category, reading.faults, SECTION, "baseline")


def _cooldown(value: Any, reading: Reading) -> timedelta | None:
    return read_span(value, "cooldown", _LONGEST_COOLDOWN, reading.faults, SECTION, "cooldown")


def _burn_in(value: Any, reading: Reading) -> timedelta | bool | None:
    if isinstance(value, bool):
        return value
    return read_span(value, "burn-in", _LONGEST_BURN_IN, reading.faults, SECTION, "burn_in")


def _channels(value: Any, reading: Reading) -> tuple[str, ...] | None:
    if not isinstance(value, list):
        advice = "write a list of their names, such as [mail]"
        reading.faults.add(f"channels are {shown(value)}; {advice}", SECTION, "channels")
        return None
    for index, name in enumerate(value):
        place = (SECTION, "channels", index)
        if not isinstance(name, str | None):
            reading.faults.add(f"a channel is not {shown(name)}; write its name", *place)
        elif name in value[:index] and name is not None:
            reading.faults.add(f"{shown(name)} stands there twice; keep one", *place)
        elif name is not None and reading.channels is not None and name not in reading.channels:
            advice = nearest(name, sorted(reading.channels))
            reading.faults.add(f"no channel {shown(name)} is configured; {advice}", *place)
    return tuple(name for name in value if isinstance(name, str))


def _explain(value: Any, reading: Reading) -> str | None:
    place = (SECTION, "explain")
    if not isinstance(value, str) or not value.strip():
        reading.faults.add(f"explain is not text: {shown(value)}; write the sentence of the alert", *place)
        return None
    try:
        names_in(value)
    except SentenceError as fault:
        reading.faults.add(f"explain {fault}", *place)
        return None
    return value


def _until(value: Any, reading: Reading) -> datetime | None:
    return read_until(value, reading.faults, SECTION, "until")
