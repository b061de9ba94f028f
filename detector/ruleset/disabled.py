"""`disabled.yml`: the rules that report nothing, each with who said so, why, and until when."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from detector.ruleset.lint import mapping_of, wrong_day, wrong_id, wrong_text
from detector.ruleset.times import read_until

if TYPE_CHECKING:
    from datetime import datetime

    from detector.ruleset.documents import Faults

FILE = "disabled.yml"
"""The name of the file, in any folder of rules."""
KEY = "disabled"
_CHECKS = {"id": wrong_id, "author": wrong_text, "reason": wrong_text, "date": wrong_day}
_REQUIRED = ("id", "author", "reason")


@dataclass(frozen=True, slots=True, kw_only=True)
class Disabled:
    """That a rule reports nothing."""

    rule_id: str
    """Of the rule: a UUID in lower case."""
    author: str
    reason: str
    until: datetime | None
    """It reports again afterwards; None: until somebody enables it."""
    path: str
    index: int
    """Its place in the list."""

    def has_ended(self, now: datetime) -> bool:
        """Whether it is over."""
        return self.until is not None and self.until <= now


def lists_disabled(path: str) -> bool:
    """Whether a file holds no rules, but which of them are disabled."""
    return PurePath(path).name == FILE


def read_disabled(faults: Faults) -> tuple[Disabled, ...]:
    """The entries of a document of the file, as far as they are not refused."""
    document = faults.document
    section = mapping_of(document.content, (KEY,), faults, FILE)
    entries = (section or {}).get(KEY)
    if entries is None:
        return ()
    if not isinstance(entries, list):
        faults.add("disabled is not a list; write id, author and reason of each rule after a dash", KEY)
        return ()
    found: dict[str, Disabled] = {}
    for index, entry in enumerate(entries):
        disabled = None if entry is None else _read(entry, index, faults)
        if disabled is not None and disabled.rule_id in found:
            faults.add("the rule is disabled twice; keep one", KEY, index)
        elif disabled is not None:
            found[disabled.rule_id] = disabled
    return tuple(found.values())


def _read(entry: Any, index: int, faults: Faults) -> Disabled | None:
    before = len(faults.found)
    place = (KEY, index)
    entry = mapping_of(entry, (*_CHECKS, "until"), faults, *place)
    if entry is None:
        return None
    for key, check in _CHECKS.items():
        if key not in entry:
            if key in _REQUIRED:
                faults.add(f"the entry has no {key}; add it", *place)
        elif entry[key] is not None and (fault := check(entry[key])):
            faults.add(f"{key} {fault}", *place, key)
    until = read_until(entry.get("until"), faults, *place, "until")
    if len(faults.found) > before or None in entry.values():
        return None
    return Disabled(
        rule_id=entry["id"].lower(),
        author=entry["author"],
        reason=entry["reason"],
        until=until,
        path=faults.document.path,
        index=index,
    )
