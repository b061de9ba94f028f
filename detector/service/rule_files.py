"""Keeps the rules in force those of the files: looks for changes, and falls back on what was good."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from detector.errors import ConfigError, RuleError, RuleFault
from detector.pipeline import RulesRefused
from detector.ruleset.endings import endings
from detector.ruleset.folders import is_hidden
from detector.ruleset.lists import NO_LISTS
from detector.ruleset.load import LoadedRules, load_rules
from detector.visible import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from detector.config import Settings
    from detector.ruleset.endings import Ending
    from detector.ruleset.evaluate import RuleSet

# A change is seen at the first look, and is read at the second if nothing was written in between.
_LOOK_SECONDS = 0.5
# Whoever writes without a pause must not keep all others from being read.
_LONGEST_WRITING_SECONDS = 5.0
# Rules, and the lists that they name.
_SUFFIXES = (".yml", ".yaml", ".txt")

_NONE_LEFT = "no rule is left, so those that were read before stay in force; write one, or correct [rules] folders"

_Signature = frozenset[tuple[str, int, int, int, int]]


class Reporter(Protocol):
    """Where it says what has become of the rules."""

    def fault(self, message: str) -> None:
        """Something is wrong, right again, or changed."""


class RuleFiles:
    """The rules of the configured folders, as they are now or were when they were last good.

    Raises:
        RuleError: at the start no rule is left to work with.
    """

    def __init__(self, settings: Settings, report: Reporter, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._report, self._clock = settings, report, clock
        self._read = self._last = _signature(settings.rule_folders)
        self._loaded = self._load(settings.rule_folders, None)
        if self._loaded.faults and not self._loaded.ruleset.rules:
            raise RuleError(self._loaded.faults)
        self._said = frozenset(self._loaded.faults)
        for fault in self._loaded.faults:
            report.fault(f"rule refused: {fault}")
        self._confirmed: tuple[RuleFault, ...] = ()
        self._looked = self._settled = clock()

    @property
    def ruleset(self) -> RuleSet:
        """What is in force."""
        return self._loaded.ruleset

    @property
    def loaded(self) -> LoadedRules:
        """What became of the files."""
        return self._loaded

    @property
    def settled(self) -> bool:
        """Whether what is wrong with the files was looked at twice."""
        return self._confirmed == self._loaded.faults

    @property
    def refused(self) -> RulesRefused | None:
        """What is wrong with the files, unless it was for a moment; None: nothing is."""
        if not self._confirmed:
            return None
        files = len({fault.path for fault in self._confirmed})
        return RulesRefused(files=files, fault=visible(str(self._confirmed[0])))

    def endings(self) -> Sequence[Ending]:
        """What the files say that ends."""
        return tuple(endings(self._loaded))

    def anew(self) -> RuleSet:
        """The same rules, with nothing remembered of any database."""
        if (folders := self._folders()) is not None:
            self._loaded = self._load(folders, self._loaded)
        return self.ruleset

    def renewed(self) -> RuleSet | None:
        """Looks at the files, now and then; gives the rules that are in force from now on if they have changed."""
        now = self._clock()
        if now - self._looked < _LOOK_SECONDS:
            return None
        self._looked = now
        folders = self._folders()
        if folders is None:
            return None
        signature = _signature(folders)
        settled = signature == self._last
        self._last = signature
        if settled:
            self._settled = now
        ends = self._loaded.changes_at
        if signature != self._read or (ends is not None and ends <= datetime.now(UTC)):
            if not settled and now - self._settled < _LONGEST_WRITING_SECONDS:
                return None
            self._read = signature
            before, self._loaded = self._loaded, self._load(folders, self._loaded)
            self.ruleset.take_over(before.ruleset)
            self._say_changes(before)
            return self.ruleset
        if not self.settled:
            # Seen twice, with a while in between: it is not about to be corrected.
            again = self._load(folders, self._loaded)
            if again.faults != self._loaded.faults:
                again.ruleset.take_over(self.ruleset)
                self._loaded = again
                return self.ruleset
            self._confirm()
        return None

    def _folders(self) -> Sequence[Path] | None:
        """The configured folders; None while nobody can say which they are."""
        try:
            return self._settings.rule_folders
        except (ConfigError, FileNotFoundError):
            # /etc/detector is closed to us, or an upgrade is under way: what was read stays in force.
            return None

    def _load(self, folders: Sequence[Path], before: LoadedRules | None) -> LoadedRules:
        good, lists = (before.files, before.lists) if before else (None, NO_LISTS)
        loaded = load_rules(folders, good=good, good_lists=lists, channels=self._settings.channel_names)
        if before is not None and before.ruleset.rules and not loaded.ruleset.rules:
            # Without any rule nothing could tell that there is none.
            faults = (*loaded.faults, RuleFault(str(folders[-1]), 0, _NONE_LEFT))
            return replace(before, faults=faults, changes_at=loaded.changes_at)
        return loaded

    def _confirm(self) -> None:
        faults = self._loaded.faults
        for fault in faults:
            if fault not in self._said:
                self._report.fault(f"rule refused: {fault}; what was good of the file stays in force")
        if self._confirmed and not faults:
            self._report.fault("all rule files are right again")
        self._said = frozenset(faults)
        self._confirmed = faults

    def _say_changes(self, before: LoadedRules) -> None:
        was = {rule.rule_id for rule in before.ruleset.rules}
        now = {rule.rule_id for rule in self.ruleset.rules}
        changes = [f"{number} {what}" for number, what in ((len(now - was), "new"), (len(was - now), "gone")) if number]
        self._report.fault(", ".join((f"rules were read again: {len(now)} in force", *changes)))


def _signature(folders: Sequence[Path]) -> _Signature:
    """What tells a file that was written, replaced or made readable from what it was before."""
    return frozenset(_files(folders))


def _files(folders: Sequence[Path]) -> Iterator[tuple[str, int, int, int, int]]:
    for folder in folders:
        # A folder that cannot be read is missed by the loader, which says so.
        yield from _stated(str(folder))
        for parent, below, names in os.walk(folder):
            below[:] = [name for name in below if not is_hidden(name)]
            for name in names:
                if name.endswith(_SUFFIXES) and not is_hidden(name):
                    yield from _stated(f"{parent}/{name}")


def _stated(path: str) -> Iterator[tuple[str, int, int, int, int]]:
    try:
        status = os.stat(path)  # noqa: PTH116  thousands of times a minute
    except OSError as fault:
        yield path, -(fault.errno or 0), 0, 0, 0
    else:
        yield path, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
