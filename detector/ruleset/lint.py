"""Checks what stands at the top of a rule: its keys, and the types of their values."""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING, Any
from uuid import UUID

from detector.domain import Severity
from detector.ruleset.categories import CATEGORIES
from detector.ruleset.wording import nearest, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from detector.ruleset.documents import Faults

_STATUSES = ("stable", "test", "experimental", "deprecated", "unsupported")
_RELATIONS = ("derived", "obsolete", "merged", "renamed", "similar", "correlation")
_PRODUCT = "linux"
_LONGEST_TITLE = 256


def check_top(faults: Faults) -> None:
    """Notes unknown and missing keys at the top of a rule, and values of the wrong type."""
    content = faults.document.content
    if is_filter(content):
        kind, known, required = "filter", _OF_FILTERS, _REQUIRED_OF_FILTERS
    else:
        own = ("correlation",) if is_correlation(content) else ("logsource", "detection")
        kind, known, required = "rule", (*_CHECKS, *own, "x-detector"), _REQUIRED
    for key, value in content.items():
        if key not in known:
            faults.add(f"unknown key {shown(key)}; {nearest(key, known)}", key)
        elif value is not None and key in _CHECKS and (fault := _CHECKS[key](value)):
            faults.add(f"{key} {fault}", key)
    for key, example in required.items():
        if key not in content:
            faults.add(f"the {kind} has no {key}; add '{key}: {example}'")
    if not is_correlation(content):
        _check_source(faults, kind)
        if "detection" not in content and not is_filter(content):
            faults.add("the rule has no detection; add one with a selection and a condition")


def mapping_of(value: Any, known: Iterable[str], faults: Faults, *place: str | int) -> dict[str, Any] | None:
    """`value` if it is a mapping, else None; notes that it is none, or every key in it that is not `known`."""
    if not isinstance(value, dict):
        if value is not None:
            faults.add(f"{place[-1]} is no mapping; write keys and values below it", *place)
        return None
    for key in value:
        if key not in known:
            faults.add(f"unknown key {shown(key)} in {place[-1]}; {nearest(key, known)}", *place, key)
    return value


def is_correlation(content: Any) -> bool:
    """Whether a document is a correlation rather than a single-event rule."""
    return "correlation" in content


def is_filter(content: Any) -> bool:
    """Whether a document is a filter rather than a rule."""
    return "filter" in content and "detection" not in content and not is_correlation(content)


def _check_source(faults: Faults, kind: str) -> None:
    content = faults.document.content
    names = " or ".join(CATEGORIES)
    advice = f"write 'category: {next(iter(CATEGORIES))}' and 'product: {_PRODUCT}' below it"
    if "logsource" not in content:
        faults.add(f"the {kind} has no logsource; {advice}")
    elif source := mapping_of(content["logsource"], ("category", "product", "definition"), faults, "logsource"):
        if source.get("category") not in tuple(CATEGORIES):
            faults.add(f"logsource is not of the category {names}, all that is seen here; {advice}", "logsource")
        if source.get("product", _PRODUCT) != _PRODUCT:
            faults.add(f"logsource is not of the product {_PRODUCT}, all that is seen here; {advice}", "logsource")
        if not isinstance(source.get("definition", ""), str | None):
            faults.add("definition is not text; put it in quotes", "logsource", "definition")


def wrong_text(value: Any) -> str | None:
    """What is wrong with a value that is to be text; None when it is."""
    return None if isinstance(value, str) and value else f"is not text: {shown(value)}; put it in quotes"


def _title(value: Any) -> str | None:
    if isinstance(value, str) and len(value) > _LONGEST_TITLE:
        return f"is longer than {_LONGEST_TITLE} characters; shorten it"
    return wrong_text(value)


def wrong_id(value: Any) -> str | None:
    """What is wrong with a value that is to be a UUID; None when it is one."""
    try:
        fits = isinstance(value, str) and str(UUID(value)) == value.lower()
    except ValueError:
        fits = False
    return None if fits else f"is no UUID: {shown(value)}; make one with uuidgen"


def _one_of(choices: Iterable[str]) -> Callable[[Any], str | None]:
    def check(value: Any) -> str | None:
        return None if value in choices else f"is never {shown(value)}; {nearest(str(value), choices)}"

    return check


def _texts(value: Any) -> str | None:
    fits = isinstance(value, list) and all(each is None or (isinstance(each, str) and each) for each in value)
    return None if fits else "is not a list of texts; write each on its own line after a dash"


def _tags(value: Any) -> str | None:
    if fault := _texts(value):
        return fault
    wrong = [tag for tag in value if tag is not None and not re.fullmatch(r"[a-z0-9_-]+\.[a-z0-9._-]+", tag)]
    return f"holds {shown(wrong[0])}; write a namespace, a dot and a name, such as attack.t1046" if wrong else None


def wrong_day(value: Any) -> str | None:
    """What is wrong with a value that is to be a day; None when it is one."""
    written = value.isoformat()[:10] if isinstance(value, date) else str(value).replace("/", "-")
    try:
        date.fromisoformat(written if re.fullmatch(r"\d{4}-\d\d-\d\d", written) else "")
    except ValueError:
        return f"is no day: {shown(value)}; write it as 2026-11-23"
    return None


def _related(value: Any) -> str | None:
    advice = "write a list of 'id: <UUID>' with 'type: derived'"
    if not isinstance(value, list):
        return f"is not a list; {advice}"
    for each in value:
        if each is not None and (not isinstance(each, dict) or set(each) != {"id", "type"}):
            return f"holds {shown(each)}; {advice}"
        if each is not None and (fault := wrong_id(each["id"]) or _one_of(_RELATIONS)(each["type"])):
            return f"holds an entry whose value {fault}"
    return None


_CHECKS: dict[str, Callable[[Any], str | None]] = {
    "title": _title,
    "id": wrong_id,
    "name": wrong_text,
    "related": _related,
    "taxonomy": _one_of(("sigma",)),
    "status": _one_of(_STATUSES),
    "description": wrong_text,
    "license": wrong_text,
    "author": wrong_text,
    "references": _texts,
    "date": wrong_day,
    "modified": wrong_day,
    "fields": _texts,
    "falsepositives": _texts,
    "level": _one_of(tuple(Severity)),
    "tags": _tags,
    "scope": _texts,
}
_REQUIRED = {
    "title": "what the rule finds",
    "id": "a UUID (uuidgen makes one)",
    "level": "informational, low, medium, high or critical",
}
_OF_FILTERS = (
    *("title", "id", "name", "taxonomy", "status", "description", "license", "author", "references", "date"),
    *("modified", "logsource", "filter", "x-detector"),
)
_REQUIRED_OF_FILTERS = {
    "title": "what is passed over",
    "id": _REQUIRED["id"],
    "author": "who answers for it",
    "description": "why it is no matter",
}
