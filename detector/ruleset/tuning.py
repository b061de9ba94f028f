"""What users have rules pass over or keep to themselves: filters and disabled rules, put to the rules they name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector.ruleset.compile import MAX_DEPTH, too_large
from detector.ruleset.conditions import depth
from detector.ruleset.disabled import KEY, lists_disabled
from detector.ruleset.drafts import by_name, find
from detector.ruleset.filters import Filter, narrowed
from detector.ruleset.lint import is_correlation, is_filter
from detector.ruleset.wording import nearest, shown

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from detector.ruleset.documents import Place
    from detector.ruleset.drafts import Draft

_RULES = ("filter", "rules")


def disable(drafts: Sequence[Draft], mentioned: Collection[str], unread: Collection[str], now: datetime) -> None:
    """Notes which drafts are disabled.

    Args:
        drafts: all of them.
        mentioned: ids and names of whatever stands in the files, refused or not.
        unread: the files whose YAML is refused.
        now: decides what has ended.
    """
    lists = [draft for draft in drafts if lists_disabled(draft.path)]
    for draft in lists:
        for entry in draft.entries:
            if entry.rule_id not in mentioned:
                advice = "remove the entry"
                draft.faults.add(f"no rule has the id {shown(entry.rule_id)}; {advice}", KEY, entry.index, "id")
    refused = {*unread, *(draft.path for draft in lists if draft.faults.found)}
    in_order = sorted((draft for draft in lists if draft.path not in refused), key=lambda each: each.layer)
    entries = {entry.rule_id: entry for draft in in_order for entry in draft.entries if not entry.has_ended(now)}
    for draft in drafts:
        draft.disabled = entries.get(draft.rule_id) if draft.rule_id is not None else None


def filter_out(drafts: Sequence[Draft], mentioned: Collection[str], refused: Collection[str], now: datetime) -> None:
    """Puts each filter to the rules that it names: what is left is narrower, for correlations too.

    Args:
        drafts: all of them.
        mentioned: ids and names of whatever stands in the files, refused or not.
        refused: the files whose filters do not count.
        now: decides what has ended.
    """
    known = by_name(drafts)
    for draft in drafts:
        if draft.exclusion is None or draft.faults.found or draft.path in refused:
            continue
        targets = _targets(draft, drafts, known, mentioned)
        draft.filter = _filter(draft)
        if not draft.faults.found and not draft.filter.has_ended(now) and draft.disabled is None:
            for target in targets:
                target.filters.append((draft.filter, draft.exclusion))
                _check_size(target, draft)
    for draft in drafts:
        if draft.matching is not None and draft.filters:
            draft.matching = narrowed(draft.matching, [exclusion for _, exclusion in draft.filters])


def _targets(draft: Draft, drafts: Sequence[Draft], known: dict[str, Draft], mentioned: Collection[str]) -> list[Draft]:
    names = draft.exclusion.rules if draft.exclusion is not None else ()
    if not names:
        several = [each for each in drafts if each.matching is not None and each.category is draft.category]
        if not several:
            draft.faults.add(f"there is no rule over {draft.category.name}; remove the filter", *_RULES)
        return several
    found = []
    for index, name in enumerate(names):
        place: Place = (*_RULES, index)
        target = find(name, known)
        if target is None:
            if not {name, name.lower()} & set(mentioned):
                advice = nearest(name, known) if known else "write it"
                draft.faults.add(f"no rule has the name or id {shown(name)}; {advice}", *place)
        elif is_filter(target.document.content):
            draft.faults.add(f"{shown(name)} is a filter itself; name rules", *place)
        elif target.category is not draft.category:
            what = f"{shown(name)} looks at {target.category.name}, and this filter at {draft.category.name}"
            draft.faults.add(f"{what}; correct its logsource", *place)
        else:
            found.append(target)
    return found


def _check_size(target: Draft, draft: Draft) -> None:
    """Of a correlation, the sizes of all its rules are looked at together later."""
    if target.matching is None or is_correlation(target.document.content):
        return
    left = narrowed(target.matching, [exclusion for _, exclusion in target.filters])
    if fault := too_large(left) or ("is nested too deep" if depth(left.condition) > MAX_DEPTH else None):
        title = shown(target.document.content.get("title"))
        draft.faults.add(f"with this filter the rule {title} {fault}", "filter")


def _filter(draft: Draft) -> Filter:
    content = draft.document.content
    assert draft.exclusion is not None  # noqa: S101  who calls has looked
    return Filter(
        rule_id=content["id"].lower(),
        title=content["title"],
        author=content["author"],
        reason=content["description"].strip(),
        until=draft.extension.until,
        path=draft.path,
        line=draft.document.line(),
        rules=draft.exclusion.rules,
    )
