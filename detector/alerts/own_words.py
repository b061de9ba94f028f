"""An alert in the words of its rule: the values of `x-detector: explain`."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from detector.alerts.capture_wording import lost
from detector.alerts.phrases import named
from detector.amounts import humanised, numbered
from detector.sentence import THINGS, SentenceError, fill_in, names_in

if TYPE_CHECKING:
    from detector.alerts.facts import Facts
    from detector.domain import Scalar

COUNTS = frozenset({"attempted", "established", "refused", "timed_out", "failed", "events"})
"""Names of which a sentence that holds one says how many."""
_UNKNOWN = "unknown"
# What rows call them otherwise.
_FIELDS = {"remote_address": "address", "remote_port": "port", "local_port": "port"}
_PLURALS = {"address": "addresses", "login_address": "login addresses"}


def told(facts: Facts) -> str:
    """The sentence, as printable text on one line; empty when the rule has none."""
    if facts.explain is None:
        return ""
    try:
        return fill_in(facts.explain, _values(facts))
    except SentenceError:
        # A comparison in a branch that was not tried when the rule was read: then it is told in our words.
        return ""


def names_told(facts: Facts) -> frozenset[str]:
    """The names in the sentence of the rule."""
    return _names(facts.explain or "")


@lru_cache(maxsize=1000)
def _names(explain: str) -> frozenset[str]:
    return names_in(explain)


def _values(facts: Facts) -> dict[str, Any]:
    common = {"host": named(facts.host), "duration": humanised(facts.duration)}
    group = {name: _shown(value) for name, value in facts.group.items()}
    if facts.capture is not None:
        return {**common, **group, "lost": lost(facts.capture)}
    totals = facts.totals
    return {
        **common,
        "score": _UNKNOWN if totals.score is None else f"{totals.score:.4f}",
        **{name: _thing(facts, name) for name in THINGS},
        **group,
        **{name: getattr(totals, name) for name in ("attempted", "established", "refused", "timed_out", "failed")},
        "events": totals.magnitude,
        "addresses": facts.of("address").count,
        "ports": facts.of("port").count,
    }


def _thing(facts: Facts, name: str) -> str:
    field = _FIELDS.get(name, name)
    distinct = facts.of(field)
    if distinct.sole is not None:
        return named(distinct.sole)
    noun = field.replace("_", " ")
    return numbered(distinct.count, noun, _PLURALS.get(field)) if distinct.count else _UNKNOWN


def _shown(value: Scalar) -> str:
    return _UNKNOWN if value is None else named(str(value))
