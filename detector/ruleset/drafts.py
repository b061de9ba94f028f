"""Documents on their way to rules."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from detector.ruleset.documents import Faults
from detector.ruleset.extension import Extension
from detector.ruleset.lint import is_correlation, is_filter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from detector.ruleset.conditions import Matching
    from detector.ruleset.correlation import Correlation
    from detector.ruleset.disabled import Disabled
    from detector.ruleset.documents import Document
    from detector.ruleset.events import Category
    from detector.ruleset.filters import Exclusion, Filter


@dataclass(slots=True, kw_only=True, eq=False)
class Draft:
    """One document on its way to a rule."""

    document: Document
    layer: int
    """Of its file (see `sources`)."""
    faults: Faults
    category: Category
    """What it looks at; of a correlation, what the rules that it counts look at."""
    matching: Matching | None = None
    """Of a single-event rule, or of all rules that a correlation counts; None when refused."""
    extension: Extension = field(default_factory=Extension)
    correlation: Correlation | None = None
    exclusion: Exclusion | None = None
    """Of a filter."""
    entries: tuple[Disabled, ...] = ()
    """Of a list of disabled rules, which is no rule."""
    bases: list[Draft] = field(default_factory=list)
    counted: list[Matching] = field(default_factory=list)
    """Of a correlation: what each of the rules that it counts matches, less what it passes over."""
    filters: list[tuple[Filter, Exclusion]] = field(default_factory=list)
    """What it passes over."""
    filter: Filter | None = None
    """What it is itself."""
    disabled: Disabled | None = None
    replaced_by: Draft | None = None
    doubts: Faults = field(init=False)
    """What is told of it, and does not keep it from being in force."""
    waits: bool = False
    """Refused for no other reason than that what it counts is."""

    def __post_init__(self) -> None:
        self.doubts = Faults(self.document)

    @property
    def path(self) -> str:
        """Of its file."""
        return self.document.path

    @property
    def is_rule(self) -> bool:
        """Whether it is a rule or a correlation."""
        content = self.document.content
        return not is_filter(content) and ("detection" in content or is_correlation(content))

    @property
    def rule_id(self) -> str | None:
        """The Sigma `id` in lower case, if there is one."""
        value = self.document.content.get("id")
        return value.lower() if isinstance(value, str) else None

    @property
    def names(self) -> Iterator[tuple[str, str]]:
        """See `names_of`."""
        return names_of(self.document)

    def anew(self) -> Draft:
        """The same, as it was before it met others."""
        return replace(
            self, faults=Faults(self.document, list(self.faults.found)), bases=[], filters=[], replaced_by=None
        )


def names_of(document: Document) -> Iterator[tuple[str, str]]:
    """What others may call a rule: the key, "id" or "name", and the id in lower case or the name."""
    for key in ("id", "name"):
        if isinstance(value := document.content.get(key), str):
            yield key, value.lower() if key == "id" else value


def by_name(drafts: Sequence[Draft]) -> dict[str, Draft]:
    """Drafts by all that they may be called."""
    return {name: draft for draft in reversed(drafts) for _, name in draft.names}


def find(name: str, known: dict[str, Draft]) -> Draft | None:
    """The draft that a rule calls `name`."""
    return known.get(name) or known.get(name.lower())


def unreplaced(drafts: Iterable[Draft]) -> list[Draft]:
    """Those whose place no other one of the same id has taken, from a folder that is named later."""
    highest: dict[str, Draft] = {}
    several = list(drafts)
    for draft in several:
        if draft.rule_id is not None and draft.layer >= highest.setdefault(draft.rule_id, draft).layer:
            highest[draft.rule_id] = draft
    for draft in several:
        if draft.rule_id is not None and draft.layer < highest[draft.rule_id].layer:
            draft.replaced_by = highest[draft.rule_id]
    return [draft for draft in several if draft.replaced_by is None]
