"""The rule files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector.cli.checks import endings
from detector.cli.checks.check import bad, doubtful, good

if TYPE_CHECKING:
    from collections.abc import Iterator

    from detector.cli.checks.check import Check
    from detector.config import Settings


def rules(settings: Settings) -> Iterator[Check]:
    """Every fault of every file, how many are in force, and what ends soon."""
    from detector.ruleset.load import load_rules

    loaded = load_rules(settings.rule_folders, channels=settings.channel_names)
    for fault in loaded.faults:
        yield bad("rules", str(fault), "detector rules check")
    if loaded.ruleset.rules:
        yield good("rules", f"{len(loaded.ruleset.rules)} in force")
    elif not loaded.faults:
        yield bad("rules", "there are none, so nothing can alert", "set [rules] folders")
    for finding, remedy in endings.rules(loaded):
        yield doubtful("rules", finding, remedy)
