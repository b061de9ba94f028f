"""Loads rule files: every fault of every file at once, and the rest as a rule set."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sigma.correlations import SigmaCorrelationRule
from sigma.exceptions import SigmaError
from sigma.filters import SigmaFilter
from sigma.rule import SigmaRule

from detector.domain import Severity
from detector.ruleset.categories import category_of
from detector.ruleset.compile import compile_detection, too_large
from detector.ruleset.conditions import Matching
from detector.ruleset.correlating import CorrelationMatcher
from detector.ruleset.correlation import Correlation, counted_rules, read_correlation, without_range
from detector.ruleset.disabled import lists_disabled, read_disabled
from detector.ruleset.documents import Document, Faults
from detector.ruleset.drafts import Draft, by_name, find, names_of, unreplaced
from detector.ruleset.entries import entries_of
from detector.ruleset.evaluate import Rule, RuleSet
from detector.ruleset.extension import check_explain, read_extension
from detector.ruleset.filters import narrowed, read_exclusion
from detector.ruleset.lint import check_top, is_correlation, is_filter
from detector.ruleset.lists import NO_LISTS, read_lists
from detector.ruleset.matchers import EventMatcher
from detector.ruleset.sources import RuleFile, read_files
from detector.ruleset.tuning import disable, filter_out
from detector.ruleset.wording import nearest, shown

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from detector.errors import RuleFault
    from detector.ruleset.catalogue import Entry
    from detector.ruleset.lists import Lists


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedRules:
    """What became of the rule files: files with a fault contribute no rule."""

    ruleset: RuleSet
    faults: tuple[RuleFault, ...]
    """Of the files as they are now."""
    entries: tuple[Entry, ...]
    """All that stands in them, by path and line."""
    files: Mapping[str, RuleFile]
    """What the rules are made of, by path: what is good, should a file be broken later."""
    changes_at: datetime | None
    """When a filter ends, or a rule is no longer disabled: then the files are to be loaded again."""
    lists: Lists
    """What rules can name, as it is, or as it was when it was last good."""


def load_rules(
    folders: Sequence[Path],
    *,
    checked: Sequence[Path] = (),
    good: Mapping[str, RuleFile] | None = None,
    good_lists: Lists = NO_LISTS,
    channels: Collection[str] | None = None,
    now: datetime | None = None,
) -> LoadedRules:
    """Reads all *.yml below `folders` (or the single files among them), and the lists in `lists` of each folder.

    Rules take the place of those of the same id in folders that are named before. Faults come back as values, by path
    and line; nothing is raised for them. In the place of a file with a fault stands what is `good` of it, else what it
    would have replaced.

    Args:
        folders: a later one goes before an earlier one.
        checked: folders and files that go before all of them, as one.
        good: what an earlier call has made rules of.
        good_lists: the lists that it had.
        channels: the names of all channels; None: rules may name any.
        now: decides what has ended.
    """
    now = now or datetime.now(UTC)
    good = good or {}
    files, unreadable = read_files(folders, checked, good)
    lists, list_faults = read_lists((*folders, *checked), good_lists)
    chosen = {file.path: file for file in files}
    # What nobody can look for is not gone.
    lost = tuple(f"{fault.path}/" for fault in unreadable)
    chosen |= {path: file for path, file in good.items() if path not in chosen and path.startswith(lost)}
    linker = _Linker([*chosen.values(), *good.values()], lists, channels, now)
    first = linked = linker.link(chosen)
    # A file that is refused matters to others only if something can stand in for it, or if it reaches beyond itself.
    while any(path in good or path in linked.reaching for path in linked.refused):
        for path in linked.at_fault:
            before = good.get(path)
            if before is None or chosen[path] is before:
                del chosen[path]
            else:
                chosen[path] = before
        linked = linker.link(chosen)
    sound = [draft for draft in linked.drafts if draft.path not in linked.refused]
    rules = list(_rules([draft for draft in sound if draft.replaced_by is None]))
    ends = [each.until for draft in sound for each in (draft.filter, *draft.entries) if each is not None and each.until]
    used = {path: file for path, file in chosen.items() if path not in linked.refused}
    # What waits for a refused rule in whose place another one stands need not wait.
    waiting = {fault for fault in first.waiting if not any(used.get(fault.path) is file for file in files)}
    return LoadedRules(
        ruleset=RuleSet(rules),
        faults=tuple(sorted({*unreadable, *list_faults, *first.faults, *waiting})),
        entries=entries_of(sound, first.drafts, rules, now),
        files=used,
        changes_at=min((end for end in ends if end > now), default=None),
        lists=lists,
    )


@dataclass(slots=True, kw_only=True)
class _Linked:
    """What some files amount to together."""

    drafts: list[Draft]
    faults: set[RuleFault]
    waiting: set[RuleFault]
    """Those of correlations that only count rules of refused files."""
    refused: set[str]
    at_fault: set[str]
    """Those of `refused` in which something is to be corrected: the others only count rules of refused ones."""
    reaching: set[str]
    """Files that change what others contribute: by taking the place of rules, or by filters."""


class _Linker:
    """Puts documents of many files together, each of which is compiled once."""

    def __init__(
        self, files: Iterable[RuleFile], lists: Lists, channels: Collection[str] | None, now: datetime
    ) -> None:
        self._lists, self._channels, self._now = lists, channels, now
        self._drafts: dict[int, list[Draft]] = {}
        self._mentioned = {name for file in files for document in file.documents for _, name in names_of(document)}

    def link(self, files: Mapping[str, RuleFile]) -> _Linked:
        drafts = [draft.anew() for file in files.values() for draft in self._drafts_of(file)]
        current = unreplaced(drafts)
        _check_names(current)
        self._read_correlations(current)
        unread = {path for path, file in files.items() if file.faults}
        for draft in current:
            if draft.path not in unread and not draft.faults.found:
                _ask_sigma(draft)
        disable(current, self._mentioned, unread, self._now)
        filter_out(current, self._mentioned, unread | _at_fault(drafts), self._now)
        at_fault = unread | _at_fault(drafts)
        refused = set(at_fault)
        _resolve(current, refused)
        at_fault |= {draft.path for draft in drafts if draft.faults.found and not draft.waits}
        return _Linked(
            drafts=drafts,
            faults={fault for file in files.values() for fault in file.faults}
            | {fault for draft in drafts for fault in draft.doubts.found}
            | {fault for draft in drafts for fault in draft.faults.found if not draft.waits},
            waiting={fault for draft in drafts for fault in draft.faults.found if draft.waits},
            refused=refused,
            at_fault=at_fault or refused,
            reaching={draft.replaced_by.path for draft in drafts if draft.replaced_by is not None}
            | {draft.path for draft in drafts if draft.filter is not None},
        )

    def _drafts_of(self, file: RuleFile) -> list[Draft]:
        if id(file) not in self._drafts:
            self._drafts[id(file)] = [
                _drafted(each, file.layer, self._lists, self._channels) for each in file.documents
            ]
        return self._drafts[id(file)]

    def _read_correlations(self, drafts: Sequence[Draft]) -> None:
        """Reads what waits for the category of the rules that it counts."""
        known = by_name(drafts)
        for draft in drafts:
            if is_correlation(draft.document.content):
                section = draft.document.content["correlation"]
                names = counted_rules(section)
                bases = [base for name in names if (base := find(name, known)) is not None]
                if bases:
                    draft.category = bases[0].category
                draft.correlation = read_correlation(section, draft.category, draft.faults)
                draft.extension = read_extension(draft.category, draft.faults, self._channels)
                if draft.correlation is not None:
                    grouped = draft.correlation.group_by
                    check_explain(draft.extension.telling, grouped, draft.category, draft.faults)


def _at_fault(drafts: Iterable[Draft]) -> set[str]:
    return {draft.path for draft in drafts if draft.faults.found}


def _drafted(document: Document, layer: int, lists: Lists, channels: Collection[str] | None) -> Draft:
    faults = Faults(document)
    content = document.content
    draft = Draft(document=document, layer=layer, faults=faults, category=category_of(content))
    if lists_disabled(document.path):
        draft.entries = read_disabled(faults)
        return draft
    check_top(faults)
    if is_filter(content):
        draft.exclusion = read_exclusion(content["filter"], draft.category, faults, lists)
        draft.extension = read_extension(draft.category, faults, channels)
    elif "detection" in content and not is_correlation(content):
        draft.matching = compile_detection(content["detection"], draft.category, faults, lists)
        draft.extension = read_extension(draft.category, faults, channels)
        actors = [field for fields in draft.category.actors.values() for field in fields]
        check_explain(draft.extension.telling, draft.extension.group_by or actors, draft.category, faults)
    return draft


def _ask_sigma(draft: Draft) -> None:
    """Notes what pySigma itself has against a rule that is sound so far."""
    if not draft.is_rule and draft.exclusion is None:
        return
    kind = SigmaFilter if draft.exclusion else SigmaRule if draft.correlation is None else SigmaCorrelationRule
    try:
        errors = kind.from_dict(without_range(draft.document.content), collect_errors=True).errors
    except SigmaError as fault:
        errors = [fault]
    for error in errors:
        draft.faults.add(f"Sigma refuses the rule: {error}; correct it")


def _check_names(drafts: Iterable[Draft]) -> None:
    first: dict[str, Draft] = {}
    for draft in drafts:
        for key, name in draft.names:
            if (other := first.setdefault(name, draft)) is not draft:
                where = f"{other.path}:{other.document.line()}"
                advice = "make a new one with uuidgen" if key == "id" else "choose another"
                draft.faults.add(f"the {key} {shown(name)} belongs to the rule at {where}; {advice}", key)


def _resolve(drafts: Sequence[Draft], refused: set[str]) -> None:
    """Gives each correlation the rules that it counts; refuses the files of those that miss one.

    A refused file takes its other rules with it, and so correlations elsewhere that count them.
    """
    known = by_name(drafts)
    waiting = [(draft, draft.correlation) for draft in drafts if draft.correlation is not None]
    lost = True
    while lost:
        lost = False
        for draft, correlation in list(waiting):
            _find_bases(draft, correlation, known, refused)
            if draft.faults.found:
                refused.add(draft.path)
                waiting.remove((draft, correlation))
                lost = True


def _find_bases(draft: Draft, correlation: Correlation, known: dict[str, Draft], refused: set[str]) -> None:
    draft.bases.clear()
    waits = not draft.faults.found
    before = len(draft.faults.found)
    for index, name in enumerate(correlation.rules):
        base = find(name, known)
        place = ("correlation", "rules", index)
        if base is not None and base.path in refused and base.path != draft.path:
            draft.faults.add(f"the rule {shown(name)} is refused; correct {base.path} first", *place)
            continue
        if base is None:
            hint = nearest(name, known) if known else "write it"
            draft.faults.add(f"no rule has the name or id {shown(name)}; {hint}", *place)
        elif not base.is_rule or is_correlation(base.document.content):
            what = "itself a correlation" if base.is_rule else "a filter"
            draft.faults.add(f"{shown(name)} is {what}; name single-event rules", *place)
        elif base.category is not draft.category:
            what = f"{shown(name)} looks at {base.category.name}, what stands before it at {draft.category.name}"
            draft.faults.add(f"{what}; count rules of one category", *place)
        elif key := base.extension.remembers:
            draft.faults.add(f"{shown(name)} has {key}, which a correlation cannot count; name a rule without", *place)
        else:
            draft.bases.append(base)
            continue
        waits = False
    draft.waits = waits and len(draft.faults.found) > before
    exclusions = [exclusion for _, exclusion in draft.filters]
    draft.counted = [narrowed(base.matching, exclusions) for base in draft.bases if base.matching is not None]
    draft.matching = Matching.any_of(draft.counted)
    if fault := too_large(draft.matching):
        draft.faults.add(f"with all its rules the correlation {fault}", "correlation", "rules")
        draft.waits = False


def _rules(drafts: Sequence[Draft]) -> Iterator[Rule]:
    silent = {
        id(base)
        for draft in drafts
        if draft.correlation is not None and not draft.correlation.generate
        for base in draft.bases
    }
    for draft, matching in ((draft, draft.matching) for draft in drafts if draft.matching is not None):
        content = draft.document.content
        yield Rule(
            rule_id=content["id"].lower(),
            title=content["title"],
            severity=Severity(content["level"]),
            category=draft.category.name,
            description=content.get("description", "").strip(),
            false_positives=tuple(content.get("falsepositives", ())),
            path=draft.path,
            line=draft.document.line(),
            produces_findings=id(draft) not in silent and draft.disabled is None,
            matcher=EventMatcher(
                draft.category,
                matching,
                draft.extension.group_by,
                new_terms=draft.extension.new_terms,
                baseline=draft.extension.baseline,
            )
            if draft.correlation is None
            else CorrelationMatcher(draft.category, draft.correlation, draft.counted),
            telling=draft.extension.telling,
            disabled=draft.disabled,
            filters=tuple(each for each, _ in draft.filters),
        )
