"""Loads rule files: every fault of every file at once, and the rest as a rule set."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sigma.correlations import SigmaCorrelationRule
from sigma.exceptions import SigmaError
from sigma.rule import SigmaRule

from detector.domain import Severity
from detector.ruleset.categories import category_of
from detector.ruleset.compile import compile_detection, too_large
from detector.ruleset.conditions import Matching
from detector.ruleset.correlating import CorrelationMatcher
from detector.ruleset.correlation import Correlation, counted_rules, read_correlation, without_range
from detector.ruleset.documents import Document, Faults, read_documents, rule_files
from detector.ruleset.evaluate import Rule, RuleSet
from detector.ruleset.extension import Extension, read_extension
from detector.ruleset.lint import check_top, is_correlation
from detector.ruleset.matchers import EventMatcher
from detector.ruleset.wording import nearest, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from detector.errors import RuleFault
    from detector.ruleset.events import Category


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedRules:
    """What became of the rule files: files with a fault contribute no rule."""

    ruleset: RuleSet
    faults: tuple[RuleFault, ...]


def load_rules(folders: Sequence[Path]) -> LoadedRules:
    """Reads all *.yml below `folders` (or the single files among them).

    Faults come back as values, by path and line; nothing is raised for them.
    """
    faults: list[RuleFault] = []
    files: dict[str, Path] = {}
    for folder in folders:
        found, unreadable = rule_files(folder)
        faults += unreadable
        for path in found:
            # A file that is reached by two ways is one file.
            files.setdefault(os.path.realpath(path), path)
    drafts: list[_Draft] = []
    for path in files.values():
        documents, broken = read_documents(path)
        faults += broken
        drafts += [_drafted(document) for document in documents]
    _check_names(drafts)
    _read_correlations(drafts)
    unread = {fault.path for fault in faults}
    for draft in drafts:
        if draft.path not in unread and not draft.faults.found:
            _ask_sigma(draft)
    refused = unread | {draft.path for draft in drafts if draft.faults.found}
    _resolve(drafts, refused)
    faults += [fault for draft in drafts for fault in draft.faults.found]
    sound = [draft for draft in drafts if draft.path not in refused]
    return LoadedRules(ruleset=RuleSet(_rules(sound)), faults=tuple(sorted(set(faults))))


@dataclass(slots=True, kw_only=True, eq=False)
class _Draft:
    """One document on its way to a rule."""

    document: Document
    faults: Faults
    category: Category
    """What it looks at; of a correlation, what the rules that it counts look at."""
    matching: Matching | None = None
    """Of a single-event rule, or of all rules that a correlation counts; None when refused."""
    extension: Extension = field(default_factory=Extension)
    correlation: Correlation | None = None
    bases: list[_Draft] = field(default_factory=list)

    @property
    def path(self) -> str:
        return self.document.path

    @property
    def names(self) -> Iterator[tuple[str, str]]:
        """What a correlation may call the rule: the key, "id" or "name", and the id in lower case or the name."""
        for key in ("id", "name"):
            if isinstance(value := self.document.content.get(key), str):
                yield key, value.lower() if key == "id" else value


def _drafted(document: Document) -> _Draft:
    faults = Faults(document)
    content = document.content
    draft = _Draft(document=document, faults=faults, category=category_of(content))
    check_top(faults)
    if "detection" in content and not is_correlation(content):
        draft.matching = compile_detection(content["detection"], draft.category, faults)
        draft.extension = read_extension(draft.category, faults)
    return draft


def _read_correlations(drafts: Sequence[_Draft]) -> None:
    """Reads what waits for the category of the rules that it counts."""
    known = _by_name(drafts)
    for draft in drafts:
        if is_correlation(draft.document.content):
            section = draft.document.content["correlation"]
            names = counted_rules(section)
            bases = [base for name in names if (base := _find(name, known)) is not None]
            if bases:
                draft.category = bases[0].category
            draft.correlation = read_correlation(section, draft.category, draft.faults)


def _ask_sigma(draft: _Draft) -> None:
    """Notes what pySigma itself has against a rule that is sound so far."""
    kind = SigmaRule if draft.correlation is None else SigmaCorrelationRule
    try:
        errors = kind.from_dict(without_range(draft.document.content), collect_errors=True).errors
    except SigmaError as fault:
        errors = [fault]
    for error in errors:
        draft.faults.add(f"Sigma refuses the rule: {error}; correct it")


def _by_name(drafts: Sequence[_Draft]) -> dict[str, _Draft]:
    return {name: draft for draft in reversed(drafts) for _, name in draft.names}


def _find(name: str, known: dict[str, _Draft]) -> _Draft | None:
    return known.get(name) or known.get(name.lower())


def _check_names(drafts: Iterable[_Draft]) -> None:
    first: dict[str, _Draft] = {}
    for draft in drafts:
        for key, name in draft.names:
            if (other := first.setdefault(name, draft)) is not draft:
                where = f"{other.path}:{other.document.line()}"
                advice = "make a new one with uuidgen" if key == "id" else "choose another"
                draft.faults.add(f"the {key} {shown(name)} belongs to the rule at {where}; {advice}", key)


def _resolve(drafts: Sequence[_Draft], refused: set[str]) -> None:
    """Gives each correlation the rules that it counts; refuses the files of those that miss one.

    A refused file takes its other rules with it, and so correlations elsewhere that count them.
    """
    known = _by_name(drafts)
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


def _find_bases(draft: _Draft, correlation: Correlation, known: dict[str, _Draft], refused: set[str]) -> None:
    draft.bases.clear()
    for index, name in enumerate(correlation.rules):
        base = _find(name, known)
        place = ("correlation", "rules", index)
        if base is None:
            hint = nearest(name, known) if known else "write it"
            draft.faults.add(f"no rule has the name or id {shown(name)}; {hint}", *place)
        elif is_correlation(base.document.content):
            draft.faults.add(f"{shown(name)} is itself a correlation; name single-event rules", *place)
        elif base.category is not draft.category:
            what = f"{shown(name)} looks at {base.category.name}, what stands before it at {draft.category.name}"
            draft.faults.add(f"{what}; count rules of one category", *place)
        elif key := base.extension.remembers:
            draft.faults.add(f"{shown(name)} has {key}, which a correlation cannot count; name a rule without", *place)
        elif base.path in refused and base.path != draft.path:
            draft.faults.add(f"the rule {shown(name)} is refused; correct {base.path} first", *place)
        else:
            draft.bases.append(base)
    draft.matching = Matching.any_of([base.matching for base in draft.bases if base.matching is not None])
    if fault := too_large(draft.matching):
        draft.faults.add(f"with all its rules the correlation {fault}", "correlation", "rules")


def _rules(drafts: Sequence[_Draft]) -> Iterator[Rule]:
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
            description=content.get("description", "").strip(),
            false_positives=tuple(content.get("falsepositives", ())),
            path=draft.path,
            line=draft.document.line(),
            produces_findings=id(draft) not in silent,
            matcher=EventMatcher(
                draft.category,
                matching,
                draft.extension.group_by,
                new_terms=draft.extension.new_terms,
                baseline=draft.extension.baseline,
            )
            if draft.correlation is None
            else CorrelationMatcher(
                draft.category, draft.correlation, [base.matching for base in draft.bases if base.matching is not None]
            ),
        )
