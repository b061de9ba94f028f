"""Makes the catalogue of rule files: of each document, whether it is in force."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector.domain import Severity
from detector.ruleset.catalogue import Entry, State
from detector.ruleset.conditions import waits_for
from detector.ruleset.lint import is_correlation

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from detector.ruleset.disabled import Disabled
    from detector.ruleset.drafts import Draft
    from detector.ruleset.evaluate import Rule


def entries_of(
    sound: Sequence[Draft], written: Iterable[Draft], rules: Iterable[Rule], now: datetime
) -> tuple[Entry, ...]:
    """The catalogue, by path and line.

    Args:
        sound: the documents of files that are not refused.
        written: those of all files, as they are now.
        rules: what came of `sound`.
        now: decides what has ended.
    """
    made = {(rule.path, rule.line): rule for rule in rules}
    entries = {_place(draft): _sound(draft, made.get(_place(draft)), now) for draft in sound if _is_listed(draft)}
    for draft in written:
        if _is_listed(draft) and _place(draft) not in entries:
            entries[_place(draft)] = _entry(draft, State.REFUSED, "its file has faults; see: detector rules check")
    return tuple(entries[place] for place in sorted(entries))


def _is_listed(draft: Draft) -> bool:
    return draft.is_rule or draft.exclusion is not None


def _place(draft: Draft) -> tuple[str, int]:
    return draft.path, draft.document.line()


def _sound(draft: Draft, rule: Rule | None, now: datetime) -> Entry:
    if draft.replaced_by is not None:
        return _entry(draft, State.REPLACED, f"by {draft.replaced_by.path}")
    if draft.disabled is not None:
        return _entry(draft, State.DISABLED, _said(draft.disabled), rule)
    if draft.filter is not None and draft.filter.has_ended(now):
        return _entry(draft, State.ENDED, f"on {draft.filter.until:%Y-%m-%d %H:%M} UTC")
    if draft.filter is not None and draft.filter.until is not None:
        return _entry(draft, State.ACTIVE, f"until {draft.filter.until:%Y-%m-%d %H:%M} UTC")
    if draft.matching is not None and (lists := waits_for(draft.matching.condition)):
        return _entry(draft, State.WAITING, ", ".join(sorted(lists)), rule)
    silent = rule is not None and not rule.produces_findings
    return _entry(draft, State.FEEDING if silent else State.ACTIVE, "", rule)


def _said(disabled: Disabled) -> str:
    until = f" until {disabled.until:%Y-%m-%d %H:%M} UTC" if disabled.until else ""
    return f"by {disabled.author}{until}: {disabled.reason}"


def _entry(draft: Draft, state: State, why: str, rule: Rule | None = None) -> Entry:
    content = draft.document.content
    level, name = content.get("level"), content.get("name")
    kind = "event" if draft.exclusion is None else "filter"
    return Entry(
        rule_id=draft.rule_id or "",
        name=name if isinstance(name, str) else None,
        title=str(content.get("title", "")),
        kind="correlation" if is_correlation(content) else kind,
        severity=Severity(level) if isinstance(level, str) and level in tuple(Severity) else None,
        state=state,
        path=draft.path,
        line=draft.document.line(),
        content=content,
        why=why,
        rule=rule,
        filter=draft.filter,
    )
